// Pages in host memory, on the disk and on their way there: what was written comes back, or nothing
// does, and nobody waits for it.
#include "runtime/memory/page_tier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <random>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "runtime/memory/disk_pages.h"
#include "scheduler/tier_index.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/small_disk.h"

namespace longspan {
namespace {

constexpr std::size_t kBytes = 1000;

std::vector<std::byte> some_page(int seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> page(kBytes);
  for (std::byte& byte : page) byte = static_cast<std::byte>(random());
  return page;
}

/// Whether the store gives back page `seed`; nothing where it gives back nothing.
std::optional<bool> gives(PageStore& store, int slot, int seed) {
  std::vector<std::byte> page(kBytes);
  if (!store.read(slot, page)) return std::nullopt;
  return page == some_page(seed);
}

class DiskPagesTest : public testing::Test {
 protected:
  /// The file, which has no name: as the process has it open.
  int open_file() const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with((folder_ / "longspan-kv-").string())) {
        return ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
      }
    }
    return -1;
  }

  test::TemporaryDirectory folder_;
};

TEST_F(DiskPagesTest, GivesBackWhatWasWrittenLastToTheSameSlot) {
  DiskPages disk(folder_.path(), kBytes, 8);
  for (int slot : {5, 0, 700}) EXPECT_TRUE(disk.write(slot, some_page(slot)));
  for (int slot : {0, 700, 5}) EXPECT_EQ(gives(disk, slot, slot), true);
  EXPECT_EQ(gives(disk, 1, 1), std::nullopt) << "nothing was written there";
  EXPECT_TRUE(disk.write(5, some_page(9)));
  EXPECT_EQ(gives(disk, 5, 9), true);
}

TEST_F(DiskPagesTest, WhatIsForgottenMakesRoomForOthers) {
  DiskPages disk(folder_.path(), kBytes, 2);
  std::mt19937 random(1);
  std::vector<int> slots{20, 21};
  for (int slot : slots) EXPECT_TRUE(disk.write(slot, some_page(slot)));
  for (int slot = 22; slot < 40; ++slot) {
    int& gone = slots[random() % 2];
    disk.forget(gone);
    EXPECT_EQ(gives(disk, gone, gone), std::nullopt);
    gone = slot;
    EXPECT_TRUE(disk.write(slot, some_page(slot)));
    for (int kept : slots) EXPECT_EQ(gives(disk, kept, kept), true);
  }
  const int file = open_file();
  ASSERT_GE(file, 0);
  EXPECT_EQ(::lseek(file, 0, SEEK_END), 2 * static_cast<off_t>(kBytes));
  ::close(file);
}

TEST_F(DiskPagesTest, TheFileIsThisUsersAloneAndHasNoName) {
  const DiskPages disk(folder_.path(), kBytes, 8);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  const int file = open_file();
  ASSERT_GE(file, 0);
  struct stat status{};
  ASSERT_EQ(::fstat(file, &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(status.st_nlink, 0u);
  ::close(file);
}

TEST_F(DiskPagesTest, AFileThatWasCutIsFound) {
  DiskPages disk(folder_.path(), kBytes, 8);
  for (int slot = 0; slot < 4; ++slot) ASSERT_TRUE(disk.write(slot, some_page(slot)));
  const int file = open_file();
  ASSERT_GE(file, 0);
  ASSERT_EQ(::ftruncate(file, 3 * kBytes + 999), 0);
  ::close(file);
  EXPECT_EQ(gives(disk, 2, 2), true);
  EXPECT_EQ(gives(disk, 3, 3), std::nullopt) << "a byte is missing";
  EXPECT_TRUE(disk.write(3, some_page(7)));
  EXPECT_EQ(gives(disk, 3, 7), true);
}

TEST_F(DiskPagesTest, AFullDiskTakesNothingAndKeepsWhatItHas) {
  DiskPages disk(folder_.path(), kBytes, 8);
  ASSERT_TRUE(disk.write(0, some_page(0)));
  ASSERT_TRUE(disk.write(2, some_page(2)));
  {
    const test::SmallDisk full(2 * kBytes + 500);
    EXPECT_FALSE(disk.write(1, some_page(1)));
    EXPECT_TRUE(disk.write(2, some_page(5))) << "where it was";
    EXPECT_FALSE(disk.write(3, some_page(3)));
  }
  EXPECT_EQ(gives(disk, 0, 0), true);
  EXPECT_EQ(gives(disk, 1, 1), std::nullopt);
  EXPECT_EQ(gives(disk, 2, 5), true);
  EXPECT_EQ(gives(disk, 3, 3), std::nullopt);
  EXPECT_TRUE(disk.write(3, some_page(6)));
  EXPECT_EQ(gives(disk, 3, 6), true);
}

TEST_F(DiskPagesTest, AFolderThatIsNoneIsRefusedWithWhatToDo) {
  EXPECT_NO_THROW(expect_disk_folder(folder_.path()));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_THROW(expect_disk_folder(folder_ / "missing"), MissingInput);
  ::close(::open((folder_ / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_THROW(expect_disk_folder(folder_ / "file"), MissingInput);
  EXPECT_THROW(DiskPages(folder_ / "missing", kBytes, 1), MissingInput);
}

/// Pages in memory, of which slot 13 takes none; a page is read, or written, when the test lets it.
class GatedStore final : public PageStore {
 public:
  explicit GatedStore(std::mutex& gate) : gate_(gate) {}
  bool write(std::int32_t slot, ConstBytes page) override {
    pass();
    const std::lock_guard lock(mutex_);
    if (slot == 13) return false;
    order_.push_back(slot);
    pages_[slot].assign(page.begin(), page.end());
    return true;
  }
  bool read(std::int32_t slot, Bytes page) override {
    pass();
    const std::lock_guard lock(mutex_);
    if (!pages_.contains(slot)) return false;
    std::ranges::copy(pages_[slot], page.begin());
    return true;
  }
  void forget(std::int32_t slot) override {
    const std::lock_guard lock(mutex_);
    pages_.erase(slot);
  }

  /// Waits until the tier has begun to read or to write.
  void await_visitor() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return visited_; });
  }
  void damage() {
    const std::lock_guard lock(mutex_);
    for (auto& [slot, page] : pages_) page[page.size() / 2] ^= std::byte{4};
  }
  /// The first `count` slots that were written, in that order.
  std::vector<int> came(std::size_t count) {
    const std::lock_guard lock(mutex_);
    std::vector<int> first = order_;
    first.resize(count);
    return first;
  }

 private:
  void pass() {
    {
      const std::lock_guard lock(mutex_);
      visited_ = true;
    }
    came_.notify_all();
    const std::lock_guard open(gate_);
  }

  std::mutex& gate_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::map<int, std::vector<std::byte>> pages_;
  std::vector<int> order_;
  bool visited_ = false;
};

class PageTierTest : public testing::Test {
 protected:
  static constexpr auto kLong = std::chrono::minutes(1);

  PageTier gated(const TierBuffers& buffers) {
    auto store = std::make_unique<GatedStore>(gate_);
    store_ = store.get();
    return PageTier(device_, kBytes, buffers, 16, std::move(store));
  }
  /// Stages and writes; false where there is no buffer.
  static bool write(PageTier& tier, StorePlace place, int seed,
                    std::chrono::nanoseconds most = {}) {
    const auto staged = tier.stage(place, most);
    if (!staged) return false;
    std::ranges::copy(some_page(seed), staged->begin());
    tier.write(place, *staged);
    return true;
  }
  void ask(PageTier& tier, StorePlace place) {
    tier.hold(place);
    tier.read(++asked_, place);
  }
  /// The next page that is there, or nothing: it could not be had.
  static std::optional<PageTier::Arrival> next(PageTier& tier) {
    for (;;) {
      if (const auto arrival = tier.arrived()) return arrival;
      for (const PageTier::Outcome& outcome : tier.take_outcomes()) {
        if (!outcome.good) return std::nullopt;
      }
      tier.await_arrival(std::chrono::steady_clock::now() + kLong);
    }
  }
  /// Whether the tier gives back page `seed`; nothing where it gives back nothing.
  std::optional<bool> gives(PageTier& tier, StorePlace place, int seed) {
    ask(tier, place);
    const auto arrival = next(tier);
    if (!arrival) return std::nullopt;
    const bool same = std::ranges::equal(arrival->page, some_page(seed));
    tier.landed(*arrival);
    return same;
  }

  CpuDevice device_{1};
  std::mutex gate_;
  GatedStore* store_ = nullptr;
  std::int64_t asked_ = 0;
};

TEST_F(PageTierTest, WhatWasWrittenIsReadWhereverItIs) {
  for (const std::int64_t kept : {0, 1, 5, 20}) {
    PageTier tier = gated({.kept = kept, .to_write = 2, .to_read = 1});
    for (int slot = 0; slot < 10; ++slot) ASSERT_TRUE(write(tier, {slot, 3}, slot, kLong));
    for (int slot : {9, 0, 4, 4, 8, 1}) EXPECT_EQ(gives(tier, {slot, 3}, slot), true) << kept;
    EXPECT_EQ(gives(tier, {4, 2}, 4), std::nullopt) << "an older content";
    EXPECT_EQ(gives(tier, {10, 0}, 4), std::nullopt) << "nothing was written there";
    ASSERT_TRUE(write(tier, {4, 4}, 44, kLong));
    EXPECT_EQ(gives(tier, {4, 3}, 4), std::nullopt);
    EXPECT_EQ(gives(tier, {4, 4}, 44), true);
    EXPECT_TRUE(tier.take_lost().empty());
  }
}

TEST_F(PageTierTest, WhatFindsNoBufferIsLostAndReadingWaitsForOne) {
  PageTier tier = gated({.to_write = 2, .to_read = 1});
  {
    const std::lock_guard slow(gate_);
    ASSERT_TRUE(write(tier, {1, 0}, 1));
    store_->await_visitor();
    ASSERT_TRUE(write(tier, {2, 0}, 2));
    EXPECT_FALSE(write(tier, {3, 0}, 3));
    tier.lose({3, 0});
  }
  ask(tier, {1, 0});
  const auto first = next(tier);
  ask(tier, {1, 0});
  ASSERT_TRUE(first && first->from_store);
  EXPECT_TRUE(std::ranges::equal(first->page, some_page(1)));
  EXPECT_FALSE(tier.arrived()) << "the only buffer is not back";
  tier.landed(*first);
  const auto second = next(tier);
  EXPECT_TRUE(std::ranges::equal(second->page, some_page(1)));
  EXPECT_EQ(tier.take_lost(), (std::vector<StorePlace>{{3, 0}}));
  EXPECT_TRUE(tier.take_lost().empty());
}

TEST_F(PageTierTest, WhoWaitsForABufferGetsTheOneThatWasWritten) {
  PageTier tier = gated({.to_write = 1, .to_read = 1});
  for (int slot = 0; slot < 8; ++slot) ASSERT_TRUE(write(tier, {slot, 0}, slot, kLong));
  for (int slot = 0; slot < 8; ++slot) EXPECT_EQ(gives(tier, {slot, 0}, slot), true);
}

TEST_F(PageTierTest, WhatTheStoreRefusesIsLost) {
  PageTier tier = gated({.to_write = 1, .to_read = 1});
  ASSERT_TRUE(write(tier, {13, 5}, 1));
  ASSERT_TRUE(write(tier, {1, 0}, 1, kLong)) << "its buffer is back";
  EXPECT_EQ(tier.take_lost(), (std::vector<StorePlace>{{13, 5}}));
  EXPECT_EQ(gives(tier, {13, 5}, 1), std::nullopt);
}

TEST_F(PageTierTest, WhatWasUsedLeastRecentlyGoesToTheStore) {
  PageTier tier = gated({.kept = 2, .to_write = 1, .to_read = 1});
  ASSERT_TRUE(write(tier, {1, 0}, 1));
  ASSERT_TRUE(write(tier, {2, 0}, 2));
  EXPECT_EQ(gives(tier, {1, 0}, 1), true);
  ASSERT_TRUE(write(tier, {3, 0}, 3));
  ASSERT_TRUE(write(tier, {4, 0}, 4, kLong));
  ASSERT_TRUE(write(tier, {5, 0}, 5, kLong));
  EXPECT_EQ(store_->came(2), (std::vector{2, 1}));
  for (int slot = 1; slot <= 5; ++slot) EXPECT_EQ(gives(tier, {slot, 0}, slot), true);
}

TEST_F(PageTierTest, WhatIsHeldStaysWhereItIs) {
  PageTier tier = gated({.kept = 1, .to_write = 2, .to_read = 1});
  ASSERT_TRUE(write(tier, {1, 0}, 1));
  ask(tier, {1, 0});
  const auto held = next(tier);
  ASSERT_TRUE(held && !held->from_store);
  for (int slot = 2; slot < 9; ++slot) ASSERT_TRUE(write(tier, {slot, 0}, slot, kLong));
  EXPECT_TRUE(std::ranges::equal(held->page, some_page(1)));
  EXPECT_EQ(store_->came(1), (std::vector{2}));
  tier.landed(*held);
  for (int slot = 9; slot < 12; ++slot) ASSERT_TRUE(write(tier, {slot, 0}, slot, kLong));
  EXPECT_EQ(std::ranges::count(store_->came(8), 1), 1);
}

// What is new is kept rather than what is old, where there is host memory to keep it.
TEST_F(PageTierTest, AStoreThatIsTooSlowCostsTheOldestPages) {
  PageTier tier = gated({.kept = 2, .to_write = 1, .to_read = 1});
  {
    const std::lock_guard slow(gate_);
    for (int slot : {1, 2, 3}) ASSERT_TRUE(write(tier, {slot, 6}, slot));
    store_->await_visitor();  // with page 1
    ASSERT_TRUE(write(tier, {4, 6}, 4));
  }
  EXPECT_EQ(tier.take_lost(), (std::vector<StorePlace>{{2, 6}}));
  EXPECT_EQ(gives(tier, {2, 6}, 2), std::nullopt);
  for (int slot : {1, 3, 4}) EXPECT_EQ(gives(tier, {slot, 6}, slot), true);
}

TEST_F(PageTierTest, HostMemoryAloneHasABufferForEachPlace) {
  PageTier tier(device_, kBytes, {.kept = 3}, 3, nullptr);
  std::mt19937 random(2);
  std::uint32_t generations[3] = {};
  for (int round = 0; round < 50; ++round) {
    const int slot = static_cast<int>(random() % 3);
    const StorePlace place{slot, ++generations[slot]};
    ASSERT_TRUE(write(tier, place, round, kLong));
    EXPECT_EQ(gives(tier, {slot, place.generation - 1}, round), std::nullopt);
    EXPECT_EQ(gives(tier, place, round), true);
  }
  EXPECT_TRUE(tier.take_lost().empty());
}

TEST_F(PageTierTest, DamageInHostMemoryIsFound) {
  PageTier tier(device_, kBytes, {.kept = 2}, 2, nullptr);
  for (int slot : {0, 1}) ASSERT_TRUE(write(tier, {slot, 0}, slot));
  ask(tier, {0, 0});
  const auto page = next(tier);
  page->page[77] ^= std::byte{1};
  tier.landed(*page);
  EXPECT_EQ(gives(tier, {0, 0}, 0), std::nullopt);
  EXPECT_EQ(gives(tier, {0, 0}, 0), std::nullopt);
  EXPECT_EQ(gives(tier, {1, 0}, 1), true);
  ASSERT_TRUE(write(tier, {0, 1}, 8)) << "its buffer is free";
  EXPECT_EQ(gives(tier, {0, 1}, 8), true);
}

TEST_F(PageTierTest, DamageBeforeTheStoreOrInItIsFound) {
  PageTier tier = gated({.kept = 1, .to_write = 1, .to_read = 1});
  ASSERT_TRUE(write(tier, {1, 0}, 1));
  ask(tier, {1, 0});
  const auto page = next(tier);
  page->page[77] ^= std::byte{1};
  tier.landed(*page);
  for (int slot : {2, 3, 4}) ASSERT_TRUE(write(tier, {slot, 0}, slot, kLong));
  ASSERT_EQ(store_->came(2), (std::vector{1, 2}));
  EXPECT_EQ(gives(tier, {1, 0}, 1), std::nullopt) << "it was damaged when it went there";
  EXPECT_EQ(gives(tier, {2, 0}, 2), true);
  store_->damage();
  EXPECT_EQ(gives(tier, {2, 0}, 2), std::nullopt);
  EXPECT_EQ(gives(tier, {4, 0}, 4), true);
}

// As the planner uses it, by its own index: places are given away and held in any order, and each
// that comes back holds what was written there.
TEST_F(PageTierTest, AnyEventsGiveBackWhatWasWrittenOrNothing) {
  std::mt19937 random(4);
  test::TemporaryDirectory folder;
  for (const auto& [kept, on_disk] : {std::pair{0, 5}, {1, 5}, {4, 2}, {6, 0}, {3, 9}}) {
    const std::int64_t places = kept + on_disk;
    TierIndex index(std::span(&places, 1));
    std::unique_ptr<PageStore> store;
    TierBuffers buffers{.kept = kept};
    if (on_disk > 0) {
      store = std::make_unique<DiskPages>(folder.path(), kBytes, on_disk);
      buffers.to_write = buffers.to_read = 2;
    }
    PageTier tier(device_, kBytes, buffers, places, std::move(store));
    std::map<std::int64_t, std::pair<PageRef, int>> asked;  // by ticket
    const auto hear = [&] {
      while (const auto page = tier.arrived()) {
        EXPECT_TRUE(std::ranges::equal(page->page, some_page(asked.at(page->ticket).second)));
        tier.landed(*page);
      }
      for (const PageTier::Outcome& outcome : tier.take_outcomes()) {
        const PageRef place = asked.extract(outcome.ticket).mapped().first;
        if (!outcome.good) index.drop(place);
        index.let_go(place);
      }
      for (const StorePlace& lost : tier.take_lost()) index.drop({0, lost.slot, lost.generation});
    };
    for (int event = 0; event < 1000; ++event) {
      const auto content = static_cast<std::uint64_t>(1 + random() % 14);
      const PageHash hash{content, content};
      if (const auto place = index.find(hash)) {
        if (random() % 4 == 0) {
          index.drop(*place);
        } else {
          index.hold(*place);
          asked[asked_ + 1] = {*place, static_cast<int>(content)};
          ask(tier, {place->slot, place->generation});
        }
      } else if (const auto empty = index.put(hash, 0)) {
        const StorePlace to{empty->slot, empty->generation};
        const auto patience = asked.empty() ? kLong : std::chrono::minutes(0);
        if (!write(tier, to, static_cast<int>(content), patience)) tier.lose(to);
      }
      if (random() % 3 == 0) hear();
    }
    while (!asked.empty()) {
      tier.await_arrival(std::chrono::steady_clock::now() + kLong);
      hear();
    }
    EXPECT_EQ(index.check(), std::nullopt);
    // Nothing has leaked: there is room for as much as at the start.
    std::vector<StorePlace> all;
    for (int content = 20; content < 20 + places; ++content) {
      const auto place = index.put({0, static_cast<std::uint64_t>(content)}, 0);
      ASSERT_TRUE(place);
      all.push_back({place->slot, place->generation});
      ASSERT_TRUE(write(tier, all.back(), content, kLong));
    }
    for (int i = 0; i < places; ++i) EXPECT_EQ(gives(tier, all[i], 20 + i), true);
    EXPECT_TRUE(tier.take_lost().empty());
  }
}

TEST_F(PageTierTest, EndsWithJobsThatWait) {
  PageTier tier = gated({.to_write = 2, .to_read = 1});
  ASSERT_TRUE(write(tier, {1, 0}, 1));
  for (int i = 0; i < 5; ++i) ask(tier, {1, 0});
  (void)next(tier);
}

}  // namespace
}  // namespace longspan

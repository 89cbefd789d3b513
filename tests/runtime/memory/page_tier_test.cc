// Pages on the disk and on their way there: what was written comes back, or nothing does, and
// nobody waits for it.
#include "runtime/memory/page_tier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "runtime/memory/disk_pages.h"
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
std::optional<bool> gives(PageStore& store, StorePlace place, int seed) {
  std::vector<std::byte> page(kBytes);
  if (!store.read(place, page)) return std::nullopt;
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

TEST_F(DiskPagesTest, GivesBackWhatWasWrittenLastToTheSamePlace) {
  DiskPages disk(folder_.path(), kBytes, 8);
  for (int slot : {5, 0, 7}) EXPECT_TRUE(disk.write({slot, 1}, some_page(slot)));
  for (int slot : {0, 7, 5}) EXPECT_EQ(gives(disk, {slot, 1}, slot), true);
  EXPECT_EQ(gives(disk, {1, 0}, 1), std::nullopt) << "nothing was written there";
  EXPECT_EQ(gives(disk, {5, 0}, 5), std::nullopt) << "an older content";
  EXPECT_TRUE(disk.write({5, 2}, some_page(9)));
  EXPECT_EQ(gives(disk, {5, 1}, 5), std::nullopt);
  EXPECT_EQ(gives(disk, {5, 2}, 9), true);
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

TEST_F(DiskPagesTest, DamageAndAFileThatWasCutAreFound) {
  DiskPages disk(folder_.path(), kBytes, 8);
  for (int slot = 0; slot < 4; ++slot) ASSERT_TRUE(disk.write({slot, 0}, some_page(slot)));
  const int file = open_file();
  ASSERT_GE(file, 0);
  char byte = 0;
  ASSERT_EQ(::pread(file, &byte, 1, kBytes + 500), 1);
  byte = static_cast<char>(byte ^ 4);
  ASSERT_EQ(::pwrite(file, &byte, 1, kBytes + 500), 1);
  ASSERT_EQ(::ftruncate(file, 3 * kBytes + 999), 0);
  ::close(file);
  EXPECT_EQ(gives(disk, {0, 0}, 0), true);
  EXPECT_EQ(gives(disk, {1, 0}, 1), std::nullopt) << "one bit is another";
  EXPECT_EQ(gives(disk, {2, 0}, 2), true);
  EXPECT_EQ(gives(disk, {3, 0}, 3), std::nullopt) << "a byte is missing";
  EXPECT_TRUE(disk.write({3, 1}, some_page(7)));
  EXPECT_EQ(gives(disk, {3, 1}, 7), true);
}

TEST_F(DiskPagesTest, AFullDiskTakesNothingAndKeepsWhatItHas) {
  DiskPages disk(folder_.path(), kBytes, 8);
  ASSERT_TRUE(disk.write({0, 0}, some_page(0)));
  ASSERT_TRUE(disk.write({2, 0}, some_page(2)));
  {
    const test::SmallDisk full(2 * kBytes + 500);
    EXPECT_TRUE(disk.write({1, 0}, some_page(1)));
    EXPECT_FALSE(disk.write({2, 1}, some_page(5)));
    EXPECT_FALSE(disk.write({3, 0}, some_page(3)));
  }
  EXPECT_EQ(gives(disk, {0, 0}, 0), true);
  EXPECT_EQ(gives(disk, {1, 0}, 1), true);
  EXPECT_EQ(gives(disk, {2, 0}, 2), std::nullopt) << "half of it is of another page";
  EXPECT_EQ(gives(disk, {2, 1}, 5), std::nullopt);
  EXPECT_TRUE(disk.write({3, 1}, some_page(6)));
  EXPECT_EQ(gives(disk, {3, 1}, 6), true);
}

TEST_F(DiskPagesTest, AFolderThatIsNoneIsRefusedWithWhatToDo) {
  EXPECT_NO_THROW(expect_disk_folder(folder_.path()));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_THROW(expect_disk_folder(folder_ / "missing"), MissingInput);
  ::close(::open((folder_ / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_THROW(expect_disk_folder(folder_ / "file"), MissingInput);
  EXPECT_THROW(DiskPages(folder_ / "missing", kBytes, 1), MissingInput);
}

/// Pages in memory; a page is read, or written, when the test lets it.
class GatedStore final : public PageStore {
 public:
  explicit GatedStore(std::mutex& gate) : gate_(gate) {}
  bool write(StorePlace place, ConstBytes page) override {
    const std::lock_guard open(gate_);
    if (place.slot == 13) return false;
    pages_[place.slot].assign(page.begin(), page.end());
    return true;
  }
  bool read(StorePlace place, Bytes page) override {
    const std::lock_guard open(gate_);
    if (pages_[place.slot].empty()) return false;
    std::ranges::copy(pages_[place.slot], page.begin());
    return true;
  }

 private:
  std::mutex& gate_;
  std::vector<std::byte> pages_[16];
};

class PageTierTest : public testing::Test {
 protected:
  /// Stages and writes; false where there is no buffer.
  bool write(PageTier& tier, int slot, int seed) {
    const auto staged = tier.stage();
    if (!staged) return false;
    std::ranges::copy(some_page(seed), staged->begin());
    tier.write({slot, 0}, *staged);
    return true;
  }
  static PageTier::Arrival next(PageTier& tier) {
    for (;;) {
      if (const auto arrival = tier.arrived()) return *arrival;
      tier.await_arrival(std::chrono::milliseconds(1000));
    }
  }

  CpuDevice device_{1};
  std::mutex gate_;
};

TEST_F(PageTierTest, JobsAreDoneInOrderWhateverTheStoreTakes) {
  PageTier tier(device_, std::make_unique<GatedStore>(gate_), kBytes, 3, 2);
  {
    const std::lock_guard slow(gate_);
    ASSERT_TRUE(write(tier, 4, 1));
    tier.read(70, {4, 0});
    ASSERT_TRUE(write(tier, 4, 2));
    tier.read(71, {4, 0});
    tier.read(72, {5, 0});
    EXPECT_FALSE(tier.arrived());
  }
  for (const auto& [ticket, seed] : {std::pair{70, 1}, {71, 2}}) {
    const PageTier::Arrival page = next(tier);
    EXPECT_EQ(page.ticket, ticket);
    ASSERT_TRUE(page.page);
    EXPECT_TRUE(std::ranges::equal(*page.page, some_page(seed)));
    tier.take_back(*page.page);
  }
  const PageTier::Arrival none = next(tier);
  EXPECT_EQ(none.ticket, 72);
  EXPECT_FALSE(none.page);
}

TEST_F(PageTierTest, WhatFindsNoBufferIsLostAndReadingWaitsForOne) {
  PageTier tier(device_, std::make_unique<GatedStore>(gate_), kBytes, 2, 1);
  {
    const std::lock_guard slow(gate_);
    ASSERT_TRUE(write(tier, 1, 1));
    ASSERT_TRUE(write(tier, 2, 2));
    EXPECT_FALSE(write(tier, 3, 3));
    tier.lose({3, 0});
  }
  tier.read(1, {1, 0});
  tier.read(2, {2, 0});
  const PageTier::Arrival first = next(tier);
  EXPECT_TRUE(std::ranges::equal(*first.page, some_page(1)));
  EXPECT_FALSE(tier.arrived()) << "the only buffer is not back";
  tier.take_back(*first.page);
  const PageTier::Arrival second = next(tier);
  EXPECT_TRUE(std::ranges::equal(*second.page, some_page(2)));
  EXPECT_EQ(tier.take_lost(), (std::vector<StorePlace>{{3, 0}}));
  EXPECT_TRUE(tier.take_lost().empty());
}

TEST_F(PageTierTest, WhoWaitsForABufferGetsTheOneThatWasWritten) {
  PageTier tier(device_, std::make_unique<GatedStore>(gate_), kBytes, 1, 1);
  for (int slot = 0; slot < 8; ++slot) {
    const auto staged = tier.stage(std::chrono::minutes(1));
    ASSERT_TRUE(staged);
    std::ranges::copy(some_page(slot), staged->begin());
    tier.write({slot, 0}, *staged);
  }
  for (int slot = 0; slot < 8; ++slot) {
    tier.read(slot, {slot, 0});
    const PageTier::Arrival page = next(tier);
    EXPECT_TRUE(std::ranges::equal(*page.page, some_page(slot)));
    tier.take_back(*page.page);
  }
}

TEST_F(PageTierTest, WhatTheStoreRefusesIsLost) {
  PageTier tier(device_, std::make_unique<GatedStore>(gate_), kBytes, 1, 1);
  ASSERT_TRUE(write(tier, 13, 1));
  tier.read(1, {13, 0});
  EXPECT_FALSE(next(tier).page);
  EXPECT_EQ(tier.take_lost(), (std::vector<StorePlace>{{13, 0}}));
  EXPECT_TRUE(write(tier, 1, 1)) << "its buffer is back";
}

TEST_F(PageTierTest, EndsWithJobsThatWait) {
  PageTier tier(device_, std::make_unique<GatedStore>(gate_), kBytes, 2, 1);
  ASSERT_TRUE(write(tier, 1, 1));
  for (int i = 0; i < 5; ++i) tier.read(i, {1, 0});
  (void)next(tier);
}

}  // namespace
}  // namespace longspan

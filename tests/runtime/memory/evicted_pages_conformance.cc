#include "tests/runtime/memory/evicted_pages_conformance.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <random>

#include "runtime/memory/disk_pages.h"

namespace longspan::test {
namespace {

using Leaving = EvictedPages::Leaving;
using Coming = EvictedPages::Coming;

constexpr auto kLong = std::chrono::minutes(1);

KvPageShape small(KvType type) {
  return {.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16},
          .layers = 3,
          .page_tokens = 4,
          .type = type};
}

/// Of half a megabyte: copies take long enough to be overtaken.
KvPageShape large(KvType type) {
  return {.heads = {.query_heads = 8, .kv_heads = 2, .head_dim = 128},
          .layers = 2,
          .page_tokens = 128,
          .type = type};
}

/// A store that damages what it keeps.
class Damaging final : public PageStore {
 public:
  bool write(std::int32_t, ConstBytes) override { return true; }
  bool read(std::int32_t, Bytes page) override {
    std::ranges::fill(page, std::byte{0x5a});
    return true;
  }
  void forget(std::int32_t) override {}
};

}  // namespace

void EvictedPagesConformance::open_pool(const KvPageShape& shape, int contents) {
  pool_ = std::make_unique<KvPagePool>(*device_, shape, kSlots);
  generations_.assign(kSlots, 0);
  contents_.clear();
  on_device_.clear();
  std::minstd_rand random(7);
  for (int i = 0; i < contents; ++i) {
    Words words(shape.page_bytes() / sizeof(int));
    std::ranges::generate(words, std::ref(random));
    Buffer copy = device_->allocate(shape.page_bytes());
    GetParam().fill(copy.bytes(), words);
    contents_.push_back(std::move(words));
    on_device_.push_back(std::move(copy));
  }
}

std::unique_ptr<EvictedPages> EvictedPagesConformance::tier_with_page_0() {
  auto evicted = tier(1, 0);
  const PageContents page_0 = claim(0);
  compute(0, 0);
  evicted->exchange(*compute_, std::vector<Leaving>{{page_0, {0, 0}}}, {});
  compute_->synchronize();
  return evicted;
}

std::unique_ptr<EvictedPages> EvictedPagesConformance::tier(int kept, int on_disk, int to_write) {
  const std::size_t bytes = pool_->shape().page_bytes();
  TierBuffers buffers{.kept = kept};
  std::unique_ptr<PageStore> store;
  if (on_disk > 0) {
    buffers.to_write = to_write;
    buffers.to_read = 3;
    store = std::make_unique<DiskPages>(folder_.path(), bytes, on_disk);
  }
  return std::make_unique<EvictedPages>(*device_, *pool_, buffers, kept + on_disk, std::move(store),
                                        kLong);
}

void EvictedPagesConformance::compute(PageSlot slot, int content) {
  pool_->load(*compute_, slot, on_device_.at(content).bytes());
}

Words EvictedPagesConformance::page(PageSlot slot) {
  compute_->synchronize();
  Words words;
  for (int layer = 0; layer < pool_->shape().layers; ++layer) {
    const Words piece = GetParam().read(pool_->piece(slot, layer));
    words.insert(words.end(), piece.begin(), piece.end());
  }
  return words;
}

PageContents EvictedPagesConformance::claim(PageSlot slot) {
  KvLease lease = pool_->lease();
  const PageContents page{slot, ++generations_.at(slot)};
  lease.claim(0, page);
  return page;
}

std::vector<EvictedPages::Outcome> EvictedPagesConformance::await_outcomes(EvictedPages& pages,
                                                                           std::size_t count) {
  std::vector<EvictedPages::Outcome> all;
  while (all.size() < count) {
    const auto some = pages.news(*compute_);
    all.insert(all.end(), some.begin(), some.end());
    if (some.empty()) pages.await_arrival(std::chrono::steady_clock::now() + kLong);
  }
  return all;
}

// All pages leave, what is enqueued at once writes over them, and they come back to other slots.
TEST_P(EvictedPagesConformance, PagesOfEachTypeComeBackBitForBit) {
  for (const KvType type : kKvTypes) {
    for (const KvPageShape& shape : {small(type), large(type)}) {
      open_pool(shape, kSlots + 1);
      for (const auto& [kept, on_disk] : {std::pair{kSlots, 0}, {0, kSlots}, {5, kSlots}}) {
        const auto evicted = tier(kept, on_disk);
        std::vector<Leaving> leaving;
        for (PageSlot slot = 0; slot < kSlots; ++slot) {
          leaving.push_back({claim(slot), {kSlots - 1 - slot, 4}});
          compute(slot, slot);
        }
        evicted->exchange(*compute_, leaving, {});
        for (PageSlot slot = 0; slot < kSlots; ++slot) compute(slot, kSlots);
        std::vector<Coming> coming;
        for (PageSlot slot = 0; slot < kSlots; ++slot) {
          coming.push_back({leaving[(slot + 5) % kSlots].to, claim(slot)});
        }
        evicted->exchange(*compute_, {}, coming);
        for (const auto& outcome : await_outcomes(*evicted, kSlots)) EXPECT_TRUE(outcome.good);
        for (PageSlot slot = 0; slot < kSlots; ++slot) {
          EXPECT_EQ(page(slot), content((slot + 5) % kSlots))
              << name(type) << ", " << kept << " kept, slot " << slot;
        }
        EXPECT_TRUE(evicted->take_lost().empty());
      }
    }
  }
}

// A place that is written by an exchange may be read by the same one.
TEST_P(EvictedPagesConformance, WhatLeavesMayComeBackAtOnce) {
  open_pool(large(KvType::kBFloat16), 2);
  for (const auto& [kept, on_disk] : {std::pair{2, 0}, {0, 2}}) {
    const auto evicted = tier(kept, on_disk);
    const PageContents page_0 = claim(0), page_1 = claim(1);
    compute(0, 0);
    compute(1, 1);
    const Leaving leaving[] = {{page_0, {0, 0}}, {page_1, {1, 0}}};
    const Coming coming[] = {{{1, 0}, claim(5)}, {{0, 0}, claim(6)}};
    evicted->exchange(*compute_, leaving, coming);
    for (const auto& outcome : await_outcomes(*evicted, 2)) EXPECT_TRUE(outcome.good);
    EXPECT_EQ(page(5), content(1));
    EXPECT_EQ(page(6), content(0));
  }
}

// What was enqueued for those who had the page before is done first.
TEST_P(EvictedPagesConformance, APageLandsBehindEarlierWork) {
  open_pool(large(KvType::kFloat32), 2);
  const auto evicted = tier_with_page_0();
  for (int i = 0; i < 500; ++i) compute(7, 1);
  evicted->exchange(*compute_, {}, std::vector<Coming>{{{0, 0}, claim(7)}});
  EXPECT_TRUE(await_outcomes(*evicted, 1)[0].good);
  EXPECT_EQ(page(7), content(0));
}

// A page that is under way when its request leaves is the next one's when it has landed.
TEST_P(EvictedPagesConformance, WhoHasThePageNextComputesBehindWhatLands) {
  open_pool(large(KvType::kFloat32), 2);
  const auto evicted = tier_with_page_0();
  evicted->exchange(*compute_, {}, std::vector<Coming>{{{0, 0}, claim(7)}});
  EXPECT_TRUE(evicted->await_arrival(std::chrono::steady_clock::now() + kLong));
  std::mutex gate;
  {
    const std::lock_guard closed(gate);
    compute_->call([&] { const std::lock_guard open(gate); });
    EXPECT_TRUE(evicted->news(*compute_).empty()) << "it waits for the gate";
    claim(7);
    evicted->keep_order(*compute_);
    compute(7, 1);
  }
  EXPECT_TRUE(await_outcomes(*evicted, 1)[0].good);
  EXPECT_EQ(page(7), content(1));
}

TEST_P(EvictedPagesConformance, WhatTheStoreDamagedIsAMissAndTouchesNoPage) {
  open_pool(small(KvType::kInt8), 2);
  EvictedPages evicted(*device_, *pool_, {.to_write = 1, .to_read = 1}, 2,
                       std::make_unique<Damaging>(), kLong);
  const PageContents page_0 = claim(0), page_1 = claim(1), target = claim(2);
  compute(0, 0);
  compute(2, 1);
  // The second waits for the only buffer, so the first is in the store when it has it.
  evicted.exchange(*compute_, std::vector<Leaving>{{page_1, {1, 0}}, {page_0, {0, 0}}}, {});
  evicted.exchange(*compute_, {}, std::vector<Coming>{{{0, 0}, target}});
  EXPECT_FALSE(await_outcomes(evicted, 1)[0].good);
  EXPECT_EQ(page(2), content(1));
}

// The copy of a page that stays is where the device reads it, and where a test can change it.
TEST_P(EvictedPagesConformance, ADamagedCopyInHostMemoryIsAMiss) {
  open_pool(small(KvType::kBFloat16), 1);
  PageTier tier(*device_, pool_->shape().page_bytes(), {.kept = 1}, 1, nullptr);
  compute(3, 0);
  const Bytes staged = *tier.stage({0, 0});
  pool_->save(*compute_, 3, staged);
  compute_->call([&] { tier.write({0, 0}, staged); });
  compute_->synchronize();
  const auto read = [&] {
    tier.hold({0, 0});
    tier.read(0, {0, 0});
    tier.await_arrival(std::chrono::steady_clock::now() + kLong);
    return tier.arrived();
  };
  const auto whole = read();
  ASSERT_TRUE(whole);
  EXPECT_EQ(std::memcmp(whole->page.data(), content(0).data(), whole->page.size()), 0);
  whole->page.back() ^= std::byte{1};
  tier.landed(*whole);
  EXPECT_TRUE(tier.take_outcomes().at(0).good);
  EXPECT_FALSE(read());
  EXPECT_FALSE(tier.take_outcomes().at(0).good);
}

/// What ManyUnderWayNeverMix knows of a slot.
struct KnownSlot {
  PageContents page;
  int content = -1;     // what it holds, or is to hold
  bool comes = false;   // from the tier
  bool claims = false;  // in this round
};

// Pages leave, come and are computed in any order, many of them under way at a time. Some are given
// to others while they come: those have what was computed for them.
TEST_P(EvictedPagesConformance, ManyUnderWayNeverMix) {
  constexpr int kContents = 16, kPlaces = 9;
  std::mt19937 random(3);
  open_pool(large(KvType::kFloat32), kContents);
  std::vector<KnownSlot> slots(kSlots);
  for (PageSlot at = 0; at < kSlots; ++at) slots[at].page = claim(at);
  for (const auto& [kept, on_disk] : {std::pair{kPlaces, 0}, {2, kPlaces}, {0, kPlaces}}) {
    const auto evicted = tier(kept, on_disk, kPlaces + 1);
    std::vector<int> places(kPlaces, -1), readers(kPlaces, 0);  // contents, and who reads them
    std::vector<std::uint32_t> generations(kPlaces, 0);
    std::map<std::pair<PageSlot, std::uint32_t>, int> asked;  // the place, by page
    const auto hear = [&](const std::vector<EvictedPages::Outcome>& outcomes) {
      for (const auto& [at, good, took] : outcomes) {
        EXPECT_TRUE(good);
        --readers[asked.extract({at.slot, at.generation}).mapped()];
        KnownSlot& slot = slots[at.slot];
        if (slot.page.generation == at.generation) slot.comes = false;
      }
    };
    for (int round = 0; round < 60; ++round) {
      std::vector<Leaving> leaving;
      std::vector<Coming> coming;
      std::vector<bool> written(kPlaces, false);
      for (KnownSlot& slot : slots) {
        const int place = static_cast<int>(random() % kPlaces);
        const auto what = random() % 4;
        slot.claims = what < 3;
        if (what == 0 && slot.content >= 0 && !slot.comes && readers[place] == 0 &&
            !written[place]) {
          leaving.push_back({slot.page, {place, ++generations[place]}});
          places[place] = slot.content;
          written[place] = true;
        }
        if (!slot.claims) continue;
        ++slot.page.generation;
        slot.comes = what == 2 && places[place] >= 0;
        slot.content = slot.comes ? places[place] : static_cast<int>(random() % kContents);
        if (!slot.comes) continue;
        coming.push_back({{place, generations[place]}, slot.page});
        asked[{slot.page.slot, slot.page.generation}] = place;
        ++readers[place];
      }
      evicted->exchange(*compute_, leaving, coming);
      for (PageSlot at = 0; at < kSlots; ++at) {
        if (slots[at].claims) slots[at].page = claim(at);
      }
      evicted->keep_order(*compute_);
      for (PageSlot at = 0; at < kSlots; ++at) {
        if (slots[at].claims && !slots[at].comes) compute(at, slots[at].content);
      }
      if (random() % 8 == 0) compute_->synchronize();
      hear(evicted->news(*compute_));
      while (asked.size() > random() % 8) hear(await_outcomes(*evicted, 1));
    }
    while (!asked.empty()) hear(await_outcomes(*evicted, 1));
    EXPECT_TRUE(evicted->take_lost().empty());
    for (PageSlot at = 0; at < kSlots; ++at) {
      if (slots[at].content < 0) continue;
      EXPECT_EQ(page(at), content(slots[at].content)) << "slot " << at;
    }
  }
}

}  // namespace longspan::test

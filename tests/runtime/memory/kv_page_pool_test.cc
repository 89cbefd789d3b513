#include "runtime/memory/kv_page_pool.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>

#include "comm/cpu/cpu_device.h"

namespace longspan {
namespace {

class KvPagePoolTest : public testing::Test {
 protected:
  CpuDevice device_{1};
  KvPageShape shape_{.heads = {6, 2, 16}, .layers = 3, .page_tokens = 4};
  KvPagePool pool_{device_, shape_, 8};
};

TEST_F(KvPagePoolTest, ADroppedLeaseLeavesItsSlotsToNewContents) {
  {
    KvLease lease = pool_.lease();
    lease.claim(0, {.slot = 3, .generation = 0});
    lease.claim(0, {.slot = 5, .generation = 2});
    EXPECT_THAT(lease.slots(), testing::ElementsAre(5, 3));
    EXPECT_EQ(pool_.used(), 2);
  }
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_EQ(pool_.most_used(), 2);
  KvLease lease = pool_.lease();
  lease.claim(0, {.slot = 3, .generation = 1});
  EXPECT_EQ(pool_.references(3), 1);
}

TEST_F(KvPagePoolTest, WhatCannotBeIsRefusedAndNothingChanges) {
  KvLease lease = pool_.lease();
  lease.claim(0, {.slot = 3, .generation = 4});
  EXPECT_THROW(lease.claim(1, {.slot = 3, .generation = 5}), std::logic_error) << "in use";
  EXPECT_THROW(lease.claim(1, {.slot = 8, .generation = 0}), std::logic_error) << "no such slot";
  EXPECT_THROW(lease.claim(1, {.slot = -1, .generation = 0}), std::logic_error);
  EXPECT_THROW(lease.claim(2, {.slot = 1, .generation = 0}), std::logic_error) << "behind the end";
  (void)lease.remove(0);
  for (std::uint32_t old : {0, 3, 4}) {
    EXPECT_THROW(lease.claim(0, {.slot = 3, .generation = old}), std::logic_error) << old;
  }
  EXPECT_TRUE(lease.slots().empty());
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(KvPagePoolTest, ContentsAreJoinedAsLongAsTheirSlotIsNotClaimedAgain) {
  KvLease second = pool_.lease(), third = pool_.lease();
  {
    KvLease first = pool_.lease();
    first.claim(0, {.slot = 3, .generation = 4});
    second.join({.slot = 3, .generation = 4});
    EXPECT_EQ(pool_.references(3), 2);
    EXPECT_EQ(pool_.used(), 1);
  }
  EXPECT_EQ(pool_.used(), 1);
  EXPECT_THROW(third.claim(0, {.slot = 3, .generation = 5}), std::logic_error) << "in use";
  (void)second.remove(0);
  EXPECT_EQ(pool_.used(), 0);
  third.join({.slot = 3, .generation = 4});
  (void)third.remove(0);
  third.claim(0, {.slot = 3, .generation = 5});
  for (const auto& [slot, generation] : {std::pair{3, 4u}, {3, 6u}, {2, 0u}, {8, 0u}, {-1, 0u}}) {
    EXPECT_THROW(second.join({slot, generation}), std::logic_error) << slot << ' ' << generation;
  }
  EXPECT_TRUE(second.slots().empty());
}

TEST_F(KvPagePoolTest, ASlotThatNobodyUsesIsFoundAsLongAsThereIsOne) {
  std::vector<KvLease> leases;
  while (const auto page = pool_.unused()) {
    leases.push_back(pool_.lease());
    leases.back().claim(0, *page);
  }
  EXPECT_EQ(leases.size(), 8u);
  leases.erase(leases.begin() + 2);
  const auto again = pool_.unused();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->slot, 2);
  EXPECT_EQ(again->generation, 1u);
}

TEST_F(KvPagePoolTest, PiecesOfPagesAndLayersDoNotOverlap) {
  std::set<const float*> seen;
  const HeadShape& heads = shape_.heads;
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const KvView view = pool_.layer(layer);
    for (std::int64_t column = 0; column < 8 * shape_.page_tokens; ++column) {
      for (int head = 0; head < heads.kv_heads; ++head) {
        const std::int64_t at = view.offset(column, head, heads.head_dim);
        for (int d = 0; d < heads.head_dim; ++d) {
          EXPECT_TRUE(seen.insert(view.keys() + at + d).second);
          EXPECT_TRUE(seen.insert(view.values() + at + d).second);
        }
      }
    }
  }
  EXPECT_EQ(seen.size() * sizeof(float), 8 * shape_.page_bytes());
}

TEST_F(KvPagePoolTest, RandomLeasesNeverShareAPageByAccident) {
  std::mt19937 random(3);
  std::vector<KvLease> leases;
  for (int round = 0; round < 5000; ++round) {
    const int choice = static_cast<int>(random() % 3);
    if (choice == 0) leases.push_back(pool_.lease());
    if (choice > 0 && !leases.empty()) {
      const auto at = leases.begin() + static_cast<std::ptrdiff_t>(random() % leases.size());
      const auto place = static_cast<int>(random() % (at->slots().size() + 1));
      const auto page = pool_.unused();
      if (choice == 1 && page) {
        at->claim(place, *page);
      } else {
        leases.erase(at);
      }
    }
    std::vector<int> references(8);
    for (const KvLease& lease : leases) {
      for (PageSlot slot : lease.slots()) ++references[slot];
    }
    for (PageSlot slot = 0; slot < 8; ++slot) {
      ASSERT_LE(references[slot], 1);
      ASSERT_EQ(pool_.references(slot), references[slot]);
    }
    ASSERT_EQ(pool_.used(), std::ranges::count(references, 1));
  }
}

}  // namespace
}  // namespace longspan

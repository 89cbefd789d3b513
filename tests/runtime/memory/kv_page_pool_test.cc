#include "runtime/memory/kv_page_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "comm/cpu/cpu_device.h"

namespace longspan {
namespace {

class KvPagePoolTest : public testing::Test {
 protected:
  CpuDevice device_{1};
  KvPageShape shape_{.heads = {6, 2, 16}, .layers = 3, .page_tokens = 4};
  KvPagePool pool_{device_, shape_, 8};
};

TEST_F(KvPagePoolTest, AskingForMoreThanIsFreeTakesNothing) {
  auto lease = pool_.try_lease(6);
  ASSERT_TRUE(lease);
  EXPECT_FALSE(pool_.try_lease(3));
  EXPECT_FALSE(lease->try_extend(3));
  EXPECT_EQ(pool_.free_pages(), 2);
  EXPECT_EQ(lease->slots().size(), 6u);
}

TEST_F(KvPagePoolTest, ADestroyedLeaseGivesItsPagesBackAndTheyAreOfANewGeneration) {
  PageSlot slot = 0;
  {
    const auto lease = pool_.try_lease(8);
    slot = lease->slots()[3];
    EXPECT_EQ(pool_.generation(slot), 0u);
  }
  EXPECT_EQ(pool_.free_pages(), 8);
  EXPECT_EQ(pool_.generation(slot), 1u);
}

TEST_F(KvPagePoolTest, ASharedPrefixLivesAsLongAsItsLastLease) {
  auto parent = pool_.try_lease(4);
  std::optional<KvLease> child = parent->share(2);
  const PageSlot shared = parent->slots()[0], own = parent->slots()[3];
  EXPECT_EQ(pool_.references(shared), 2);
  parent.reset();
  EXPECT_EQ(pool_.free_pages(), 6);
  EXPECT_EQ(pool_.generation(shared), 0u);
  EXPECT_EQ(pool_.generation(own), 1u);
  child.reset();
  EXPECT_EQ(pool_.free_pages(), 8);
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
    const int choice = static_cast<int>(random() % 4);
    if (choice == 0) {
      if (auto lease = pool_.try_lease(random() % 4)) leases.push_back(std::move(*lease));
    } else if (!leases.empty()) {
      const auto at = leases.begin() + random() % leases.size();
      KvLease& lease = *at;
      if (choice == 1) (void)lease.try_extend(random() % 3);
      if (choice == 2) {
        KvLease shared = lease.share(random() % (lease.slots().size() + 1));
        leases.push_back(std::move(shared));
      }
      if (choice == 3) leases.erase(at);
    }
    std::vector<int> references(8);
    for (const KvLease& lease : leases) {
      for (PageSlot slot : lease.slots()) ++references[slot];
    }
    int used = 0;
    for (PageSlot slot = 0; slot < 8; ++slot) {
      if (references[slot] > 0) {
        ++used;
        ASSERT_EQ(pool_.references(slot), references[slot]);
      }
    }
    ASSERT_EQ(pool_.free_pages(), 8 - used);
  }
}

}  // namespace
}  // namespace longspan

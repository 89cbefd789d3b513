#include "runtime/model/model_part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace longspan {
namespace {

using testing::ElementsAre;

ModelConfig model(int query_heads, int kv_heads, int ffn = 300, int vocabulary = 1001) {
  ModelConfig config;
  config.ffn = ffn;
  config.vocabulary = vocabulary;
  config.heads = {.query_heads = query_heads, .kv_heads = kv_heads, .head_dim = 64};
  return config;
}

TEST(ModelPartTest, HeadsSayHowManyRanksMayHoldTheModel) {
  EXPECT_THAT(usable_part_counts(model(9, 3)), ElementsAre(1, 3, 9));
  EXPECT_THAT(usable_part_counts(model(8, 2)), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(usable_part_counts(model(4, 4)), ElementsAre(1, 2, 4));
  EXPECT_THAT(usable_part_counts(model(6, 1)), ElementsAre(1, 2, 3, 6));
  EXPECT_THAT(usable_part_counts(model(12, 4)), ElementsAre(1, 2, 4, 12));  // 3 and 6 cut groups
  EXPECT_THAT(usable_part_counts(model(8, 2, 3)), ElementsAre(1, 2));       // three columns
  EXPECT_THAT(usable_part_counts(model(8, 2, 300, 1)), ElementsAre(1));
}

TEST(ModelPartTest, OneRankHoldsAllOfIt) {
  const ModelConfig whole = model(9, 3);
  const PartSlices all = slices_of(whole, {});
  EXPECT_EQ(all.query_heads, (Slice{0, 9}));
  EXPECT_EQ(all.kv_heads, (Slice{0, 3}));
  EXPECT_EQ(all.ffn, (Slice{0, 300}));
  EXPECT_EQ(all.vocabulary, (Slice{0, 1001}));
  EXPECT_EQ(part_of(whole, {}).heads.query_heads, 9);
  EXPECT_EQ(part_of(whole, {}).heads.kv_heads, 3);
}

/// Ranks in the order in which their slices lie in the whole.
void expect_covered(int width, int ranks, const std::function<Slice(int)>& slice) {
  int next = 0;
  for (int rank = ranks - 1; rank >= 0; --rank) {
    EXPECT_EQ(slice(rank).first, next);
    EXPECT_GE(slice(rank).count, width / ranks);
    EXPECT_LE(slice(rank).count, slice(0).count) << "the first rank plans memory for all";
    next += slice(rank).count;
  }
  EXPECT_EQ(next, width);
}

TEST(ModelPartTest, ColumnsAndTokensAreCutAnywhereAndTheFirstRankHasTheMost) {
  for (int ranks : {1, 2, 3, 6}) {
    for (int width : {6, 7, 11, 300, 1001}) {
      const ModelConfig whole = model(6, 1, width, width);
      expect_covered(width, ranks, [&](int rank) { return slices_of(whole, {rank, ranks}).ffn; });
      expect_covered(width, ranks,
                     [&](int rank) { return slices_of(whole, {rank, ranks}).vocabulary; });
    }
  }
}

/// Each query head finds the KV head that it has in the whole model.
TEST(ModelPartTest, QueryHeadsKeepTheirKvHeads) {
  for (const auto& [query_heads, kv_heads] :
       {std::pair{9, 3}, {8, 2}, {4, 4}, {6, 1}, {12, 4}, {32, 8}}) {
    const ModelConfig whole = model(query_heads, kv_heads);
    for (int ranks : usable_part_counts(whole)) {
      int next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const PartSlices own = slices_of(whole, {rank, ranks});
        const ModelConfig part = part_of(whole, {rank, ranks});
        EXPECT_EQ(own.query_heads.first, next);
        next += own.query_heads.count;
        ASSERT_EQ(part.heads.query_heads % part.heads.kv_heads, 0);
        const int group = part.heads.query_heads / part.heads.kv_heads;
        for (int head = 0; head < part.heads.query_heads; ++head) {
          EXPECT_EQ(own.kv_heads.first + head / group,
                    (own.query_heads.first + head) / (query_heads / kv_heads))
              << query_heads << "/" << kv_heads << " heads, part " << rank << " of " << ranks;
        }
      }
      EXPECT_EQ(next, query_heads);
    }
  }
}

}  // namespace
}  // namespace longspan

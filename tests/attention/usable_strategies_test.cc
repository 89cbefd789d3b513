#include "attention/usable_strategies.h"

#include <gmock/gmock.h>

#include <array>
#include <random>

#include "comm/error.h"

namespace longspan {
namespace {

using testing::HasSubstr;

SplitSetting setting(int query_heads, int kv_heads, std::vector<int> hosts) {
  return {.heads = {query_heads, kv_heads, 64}, .hosts = std::move(hosts)};
}

std::vector<int> one_host(int ranks) { return std::vector(ranks, 0); }

std::vector<int> inner_degrees(Strategy strategy, const SplitSetting& where) {
  std::vector<int> degrees;
  for (const PlannedStrategy& plan : usable_plans(strategy, where)) degrees.push_back(plan.inner);
  return degrees;
}

TEST(UsableStrategiesTest, EverythingWorksWhereHeadsDivideAndPagesAreBlocks) {
  for (const UsableStrategy& usable : usable_strategies(setting(32, 8, one_host(4)))) {
    EXPECT_FALSE(usable.refusal) << name(usable.plan.strategy);
  }
}

TEST(UsableStrategiesTest, ARankAloneMayUseAnyStrategy) {
  SplitSetting alone = setting(7, 7, one_host(1));
  alone.layout = Layout::kZigzag;
  alone.spread = false;
  for (const UsableStrategy& usable : usable_strategies(alone)) EXPECT_FALSE(usable.refusal);
}

TEST(UsableStrategiesTest, UlyssesNamesTheDegreesThatWork) {
  EXPECT_EQ(refusal(Strategy::kUlysses, setting(28, 4, one_host(8))),
            "ulysses degree 8 does not divide 28 query heads; usable degrees: 1 2 4 7 14 28; or "
            "usp 4 x 2, or ring");
  EXPECT_EQ(refusal(Strategy::kUlysses, setting(9, 3, one_host(4))),
            "ulysses degree 4 does not divide 9 query heads; usable degrees: 1 3 9; or ring");
  EXPECT_FALSE(refusal(Strategy::kUlysses, setting(28, 4, one_host(7))));
}

// The KV heads need not divide: they are replicated in flight.
TEST(UsableStrategiesTest, KvHeadsDoNotLimitUlysses) {
  EXPECT_FALSE(refusal(Strategy::kUlysses, setting(12, 2, one_host(3))));
  EXPECT_FALSE(refusal(Strategy::kUlysses, setting(12, 2, one_host(4))));
}

TEST(UsableStrategiesTest, UspExchangesHeadsInsideAHostWhereItCan) {
  EXPECT_EQ(inner_degrees(Strategy::kUsp, setting(32, 8, one_host(8))), (std::vector{4, 2}));
  EXPECT_EQ(inner_degrees(Strategy::kUsp, setting(28, 4, one_host(8))), (std::vector{4, 2}));
  EXPECT_EQ(inner_degrees(Strategy::kUsp, setting(32, 8, {0, 0, 1, 1, 2, 2, 3, 3})),
            (std::vector{2, 4}));
  EXPECT_EQ(inner_degrees(Strategy::kUsp, setting(6, 6, {0, 0, 0, 1, 1, 1})), (std::vector{3, 2}));
}

TEST(UsableStrategiesTest, UspIsRefusedWhereNothingIsLeftToDivide) {
  EXPECT_EQ(refusal(Strategy::kUsp, setting(12, 3, one_host(5))),
            "usp has no ulysses degree between 1 and 5 that divides both 5 ranks and 12 query "
            "heads; or use ring");
  EXPECT_THAT(*refusal(Strategy::kUsp, setting(12, 3, one_host(3))),
              HasSubstr("or use ulysses or ring"));
}

TEST(UsableStrategiesTest, ADoubleRingNeedsHostsOfOneSizeInOrder) {
  EXPECT_EQ(inner_degrees(Strategy::kDoubleRing, setting(4, 4, {5, 5, 9, 9})), std::vector{2});
  EXPECT_EQ(inner_degrees(Strategy::kDoubleRing, setting(4, 4, {0, 1, 2})), std::vector{1});
  for (const std::vector<int>& hosts : {std::vector{0, 0, 1}, std::vector{0, 1, 0, 1},
                                        std::vector{0, 0, 1, 2}, std::vector{0, 0, 1, 1, 0, 0}}) {
    EXPECT_TRUE(refusal(Strategy::kDoubleRing, setting(4, 4, hosts)));
  }
}

TEST(UsableStrategiesTest, AForcedDoubleRingOfOneHostIsDividedEvenly) {
  EXPECT_EQ(inner_degrees(Strategy::kDoubleRing, setting(4, 4, one_host(4))), std::vector{2});
  EXPECT_EQ(inner_degrees(Strategy::kDoubleRing, setting(4, 4, one_host(12))), std::vector{3});
  EXPECT_EQ(inner_degrees(Strategy::kDoubleRing, setting(4, 4, one_host(5))), std::vector{5});
}

TEST(UsableStrategiesTest, StrategiesThatLeaveKvAtHomeNeedTheIdentity) {
  for (Strategy strategy :
       {Strategy::kQueryRing, Strategy::kGatherQuery, Strategy::kUlysses, Strategy::kUsp}) {
    SplitSetting where = setting(32, 8, one_host(4));
    EXPECT_FALSE(refusal(strategy, where));
    where.block = 8;  // half a page
    EXPECT_THAT(*refusal(strategy, where), HasSubstr("blocks of one page (16 tokens)"));
    where.block = 16;
    where.spread = false;
    EXPECT_THAT(*refusal(strategy, where), HasSubstr("pages spread over the ranks"));
    where.spread = true;
    for (Layout layout : {Layout::kStriped, Layout::kZigzag, Layout::kContiguous}) {
      where.layout = layout;
      EXPECT_THAT(*refusal(strategy, where), HasSubstr("ring, all-gather or double-ring"));
    }
    where.layout = Layout::kStriped;
    where.page_tokens = 1;
    EXPECT_FALSE(refusal(strategy, where));
  }
}

TEST(UsableStrategiesTest, StrategiesThatPassKeysTakeAnyLayoutAndRetention) {
  for (Layout layout :
       {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag, Layout::kContiguous}) {
    SplitSetting where = setting(32, 8, {0, 0, 1, 1});
    where.layout = layout;
    where.spread = false;
    for (Strategy strategy : kStrategies) {
      EXPECT_EQ(!refusal(strategy, where), passes_keys(strategy)) << name(strategy);
    }
  }
}

TEST(UsableStrategiesTest, AForcedStrategyIsAPlanOrAUsageError) {
  EXPECT_EQ(forced_plan(Strategy::kUsp, setting(28, 4, one_host(8))),
            (PlannedStrategy{Strategy::kUsp, 4}));
  EXPECT_THROW(forced_plan(Strategy::kUlysses, setting(28, 4, one_host(8))), UsageError);
}

// What the setting promises must hold for every chunk, wherever it starts and ends.
TEST(UsableStrategiesTest, APromisedIdentityHoldsForEveryChunk) {
  std::mt19937 random(17);
  const auto draw = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  constexpr std::array kLayouts{Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                                Layout::kContiguous};
  int promised = 0, refuted = 0;
  for (int round = 0; round < 3000; ++round) {
    const int ranks = draw(1, 6);
    SplitSetting where = setting(4, 4, one_host(ranks));
    where.layout = kLayouts[draw(0, 3)];
    where.page_tokens = draw(0, 2) == 0 ? 1 : 1 << draw(0, 4);
    where.block = draw(0, 1) == 0 ? where.page_tokens : 1 << draw(0, 4);
    const Deal deal{.layout = where.layout,
                    .first = draw(0, 60),
                    .count = draw(1, 90),
                    .ranks = ranks,
                    .block = where.block};
    std::vector<int> owners;
    for (std::int64_t page = 0; page * where.page_tokens < deal.first + deal.count; ++page) {
      owners.push_back(static_cast<int>(page % ranks));
    }
    const bool holds = has_identity(deal, where.page_tokens, owners);
    if (promises_identity(where)) {
      ++promised;
      EXPECT_TRUE(holds) << name(where.layout) << ", page " << where.page_tokens;
    }
    refuted += holds ? 0 : 1;
  }
  EXPECT_GT(promised, 300);
  EXPECT_GT(refuted, 300);
}

TEST(UsableStrategiesTest, OnePageOfAnotherRankEndsTheIdentity) {
  const Deal deal{.first = 8, .count = 40, .ranks = 3, .block = 16};
  EXPECT_TRUE(has_identity(deal, 16, std::vector{0, 1, 2}));
  EXPECT_FALSE(has_identity(deal, 16, std::vector{0, 1, 1}));
  EXPECT_TRUE(has_identity({.first = 16, .count = 16, .ranks = 3, .block = 16}, 16,
                           std::vector{2, 1, 0}));  // only the page it touches counts
}

}  // namespace
}  // namespace longspan

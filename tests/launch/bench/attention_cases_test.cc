#include "launch/bench/attention_cases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "comm/error.h"

namespace longspan {
namespace {

using ::testing::HasSubstr;

BenchAttentionOptions options_of(std::vector<std::int64_t> tokens, std::int64_t cached,
                                 std::vector<Layout> layouts = {Layout::kBlockCyclic}) {
  BenchAttentionOptions options;
  options.tokens = std::move(tokens);
  options.cached = cached;
  options.layouts = std::move(layouts);
  return options;
}

std::vector<Strategy> strategies(const AttentionCase& one) {
  std::vector<Strategy> list;
  for (const PlannedStrategy& plan : one.plans) list.push_back(plan.strategy);
  return list;
}

TEST(AttentionCasesTest, EvenSharesHaveAllRowsAndAllPairsTogether) {
  for (const AskedChunk chunk :
       {AskedChunk{1, 0}, {2, 0}, {3, 5}, {64, 0}, {100, 1000}, {4097, 77}}) {
    for (int ranks : {1, 2, 3, 5, 8}) {
      std::int64_t rows = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const AskedChunk share = even_share(chunk, rank, ranks);
        rows += share.tokens;
        if (share.tokens == 0) continue;
        // Rounding to a column changes as many pairs as there are rows, half of that on average.
        const double each = visible_pairs(chunk) / ranks;
        const auto slack = static_cast<double>(share.tokens);
        EXPECT_NEAR(visible_pairs(share), each, share.cached > 0 ? slack / 2 : each + slack);
      }
      EXPECT_EQ(rows, chunk.tokens);
    }
  }
}

TEST(AttentionCasesTest, OneRanksEvenShareIsAllOfIt) {
  for (const AskedChunk chunk : {AskedChunk{1, 0}, {7, 0}, {64, 100}, {4097, 1}}) {
    EXPECT_EQ(even_share(chunk, 0, 1), chunk);
  }
}

TEST(AttentionCasesTest, ARankWithoutRowsHasNoShare) {
  EXPECT_EQ(even_share({2, 100}, 2, 3), (AskedChunk{0, 0}));
}

TEST(AttentionCasesTest, PairsAreThoseCountedOneByOne) {
  double pairs = 0;
  for (int row = 0; row < 13; ++row) pairs += 5 + row + 1;
  EXPECT_EQ(visible_pairs({13, 5}), pairs);
}

TEST(AttentionCasesTest, EverySizeMeetsEveryLayout) {
  const auto cases = attention_cases(
      options_of({8, 100}, 20, {Layout::kBlockCyclic, Layout::kZigzag, Layout::kFolded}),
      {0, 0, 0});
  ASSERT_EQ(cases.size(), 6u);
  for (const AttentionCase& one : cases) {
    EXPECT_EQ(one.shape.size(), 3);
    EXPECT_EQ(one.shape.new_tokens(), one.size.tokens);
    EXPECT_EQ(one.shape.columns(), one.size.tokens + 20);
  }
  EXPECT_EQ(cases[4].deal.layout, Layout::kZigzag);
}

TEST(AttentionCasesTest, StrategiesThatALayoutForbidsAreLeftOut) {
  const auto cases =
      attention_cases(options_of({100}, 7, {Layout::kFolded, Layout::kZigzag}), {0, 0, 0});
  EXPECT_EQ(strategies(cases[0]),
            (std::vector{Strategy::kRing, Strategy::kQueryRing, Strategy::kAllGather,
                         Strategy::kGatherQuery, Strategy::kUlysses, Strategy::kDoubleRing}));
  EXPECT_EQ(strategies(cases[1]),
            (std::vector{Strategy::kRing, Strategy::kAllGather, Strategy::kDoubleRing}));
}

TEST(AttentionCasesTest, EveryWayToDivideTheRanksHasAPlaceAndTheFirstMayBeChosen) {
  BenchAttentionOptions options = options_of({100}, 7);
  options.heads = {.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  options.strategies.named = {Strategy::kUsp, Strategy::kRing};
  const auto cases = attention_cases(options, std::vector<int>(8, 0));
  const PlannedStrategy four{Strategy::kUsp, 4}, two{Strategy::kUsp, 2};
  EXPECT_EQ(cases.front().plans, (std::vector{four, two, PlannedStrategy{Strategy::kRing, 1}}));
  EXPECT_TRUE(cases.front().question().planned->contains(four));
  EXPECT_EQ(room_for(cases).strategies, (std::vector<StrategySet>{{four, {}}, {two}}));
}

TEST(AttentionCasesTest, PagesLieWhereTheirTokensAreComputedIfTheLayoutAllows) {
  for (const AttentionCase& one : attention_cases(
           options_of({1, 15, 16, 17, 100}, 23, {Layout::kBlockCyclic, Layout::kFolded}),
           {0, 0, 0, 0, 0})) {
    EXPECT_TRUE(one.question().identity);
  }
}

TEST(AttentionCasesTest, ANamedStrategyThatNoLayoutTakesIsRefusedWithTheReason) {
  BenchAttentionOptions options = options_of({100}, 0, {Layout::kZigzag});
  options.strategies.named = {Strategy::kQueryRing};
  try {
    attention_cases(options, {0, 0});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--layout zigzag"));
    EXPECT_THAT(error.what(), HasSubstr("query-ring leaves the KV of a new token"));
  }
}

TEST(AttentionCasesTest, AloneThereIsOneStrategyUnlessOthersAreNamed) {
  BenchAttentionOptions options = options_of({5}, 0);
  EXPECT_EQ(strategies(attention_cases(options, {0}).front()), std::vector{Strategy::kRing});
  options.strategies.named = {Strategy::kUlysses};
  EXPECT_EQ(strategies(attention_cases(options, {0}).front()), std::vector{Strategy::kUlysses});
}

TEST(AttentionCasesTest, TheRoomHoldsEveryCase) {
  const auto cases = attention_cases(
      options_of({1, 50, 333}, 100, {Layout::kContiguous, Layout::kFolded}), {0, 0, 0});
  const AttentionRoom room = room_for(cases);
  for (const AttentionCase& one : cases) {
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_LE(one.shape.rows[rank], room.limits.rows);
      EXPECT_LE(one.shape.stream(rank), room.limits.columns);
      EXPECT_LE(std::ranges::count(one.owners, rank), room.pages);
      const AskedChunk share = even_share(one.size, rank, 3);
      EXPECT_LE(share.tokens, room.alone.rows);
      EXPECT_LE(share.cached + share.tokens, room.pages * 16);
    }
    EXPECT_LE(one.shape.columns(), room.limits.all_columns);
    for (const PlannedStrategy& plan : one.plans) {
      EXPECT_EQ(std::ranges::count_if(room.strategies,
                                      [&](const StrategySet& set) { return set.contains(plan); }),
                1);
    }
  }
}

TEST(AttentionCasesTest, TheChoiceIsOneOfThoseAskedForEvenIfItIsWorthNothing) {
  BenchAttentionOptions options = options_of({256}, 0, {Layout::kZigzag});
  const MachineRates rates = default_rates("avx2", 1);
  options.strategies.named = {Strategy::kDoubleRing};  // on one host dropped for ring
  for (int ranks : {2, 3, 4}) {
    const AttentionCase one = attention_cases(options, std::vector<int>(ranks, 0)).front();
    EXPECT_EQ(one.choice(rates).plan, one.plans.front());
    EXPECT_GT(one.choice(rates).seconds, 0);
    EXPECT_THAT(one.choice(rates).reason, HasSubstr("one host"));
  }
  options.strategies.named = {Strategy::kDoubleRing, Strategy::kAllGather};
  const AttentionCase both = attention_cases(options, {0, 0}).front();
  EXPECT_EQ(both.choice(rates).plan, PlannedStrategy{Strategy::kAllGather});
}

TEST(AttentionCasesTest, RandomSizesStayBelowTheMostThatWereGiven) {
  BenchAttentionOptions options;
  options.tokens = {10, 300};
  options.random = 40;
  EXPECT_EQ(chunk_sizes(options), random_chunks(40, 300, 300));
  options.cached = 5;
  EXPECT_EQ(chunk_sizes(options), random_chunks(40, 300, 5));
}

}  // namespace
}  // namespace longspan

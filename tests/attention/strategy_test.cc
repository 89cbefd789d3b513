#include "attention/strategy.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

TEST(StrategyTest, EveryStrategyIsKnownByItsName) {
  for (Strategy strategy : kStrategies) EXPECT_EQ(parse_strategy(name(strategy)), strategy);
  EXPECT_EQ(name(Strategy::kGatherQuery), "gather-q");
  EXPECT_EQ(parse_strategy("double-ring"), Strategy::kDoubleRing);
}

TEST(StrategyTest, AnotherWordIsNoStrategy) {
  for (const char* word : {"", "Ring", "ring ", "pass-kv", "auto"})
    EXPECT_FALSE(parse_strategy(word));
}

TEST(StrategyTest, OnlyFormsThatPassEveryKeyToEveryRankMayStoreItAnywhere) {
  EXPECT_TRUE(passes_keys(Strategy::kRing));
  EXPECT_TRUE(passes_keys(Strategy::kAllGather));
  EXPECT_TRUE(passes_keys(Strategy::kDoubleRing));
  EXPECT_FALSE(passes_keys(Strategy::kQueryRing));
  EXPECT_FALSE(passes_keys(Strategy::kGatherQuery));
  EXPECT_FALSE(passes_keys(Strategy::kUlysses));
  EXPECT_FALSE(passes_keys(Strategy::kUsp));
}

TEST(StrategyTest, APlanSaysHowItDividesTheGroup) {
  EXPECT_EQ(describe(PlannedStrategy{Strategy::kUsp, 4}, 8), "usp 4 x 2");
  EXPECT_EQ(describe(PlannedStrategy{Strategy::kDoubleRing, 8}, 16), "double-ring 2 x 8");
  EXPECT_EQ(describe(PlannedStrategy{Strategy::kRing, 1}, 8), "ring");
}

TEST(StrategyTest, DecodeStrategiesHaveNamesToo) {
  for (const char* word : {"shipped", "mirrored", "tree", "sliced"}) {
    ASSERT_TRUE(parse_decode_strategy(word)) << word;
    EXPECT_EQ(name(*parse_decode_strategy(word)), word);
  }
  EXPECT_FALSE(parse_decode_strategy("ring"));
}

}  // namespace
}  // namespace longspan

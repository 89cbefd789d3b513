#include "attention/choose_strategy.h"

#include <gmock/gmock.h>

#include <random>
#include <stdexcept>

#include "attention/strategy_time.h"

namespace longspan {
namespace {

using testing::HasSubstr;

MachineRates network(double bytes_per_second, double latency = 1e-4) {
  const LinkRate link{latency, bytes_per_second};
  return {.attention = {{1, 1e9}, {64, 2e10}},
          .merge_bytes_per_second = 5e9,
          .launch_seconds = 1e-5,
          .inside_host = link,
          .between_hosts = link};
}

StrategyQuestion question(std::int64_t cached, std::int64_t rows, int ranks) {
  StrategyQuestion asked;
  asked.setting.heads = {.query_heads = 32, .kv_heads = 8, .head_dim = 64};
  asked.setting.hosts = std::vector(ranks, 0);
  asked.layers = {{split_shape({.first = cached, .count = rows, .ranks = ranks, .block = 16}, 16)}};
  return asked;
}

const Candidate& candidate(const StrategyChoice& choice, Strategy strategy) {
  return *std::ranges::find_if(choice.candidates, [strategy](const Candidate& one) {
    return one.plan.strategy == strategy;
  });
}

TEST(ChooseStrategyTest, TheSmallestPredictionWinsUpToTwoPercent) {
  std::mt19937 random(21);
  for (int round = 0; round < 200; ++round) {
    const auto draw = [&](int from, int to) {
      return std::uniform_int_distribution<int>(from, to)(random);
    };
    const auto asked = question(draw(0, 3) * draw(0, 5000), draw(1, 4000), draw(1, 8));
    const MachineRates rates = network(1e7 * draw(1, 500));
    const StrategyChoice choice = choose_strategy(asked, rates);
    for (const Candidate& one : choice.candidates) {
      if (!one.dropped.empty()) continue;
      EXPECT_LE(choice.seconds, 1.02 * one.seconds) << describe(choice, asked.setting.degree());
    }
    EXPECT_EQ(choice.seconds, predicted_seconds(choice.plan, asked.layers[0].shape, asked.wire(),
                                                asked.setting.hosts, rates));
  }
}

// A machine on which whatever the ring does takes half a millisecond longer than any rate says.
TEST(ChooseStrategyTest, WhatProbesShowDecidesShortChunksAndNotLongOnes) {
  MachineRates rates = network(1e9);
  const PlannedStrategy ring{Strategy::kRing}, gather{Strategy::kAllGather};
  for (const auto& [rows, followed] : {std::pair(256, true), std::pair(16'384, false)}) {
    StrategyQuestion asked = question(0, rows, 4);
    asked.planned = {ring, gather};
    rates.probed.clear();
    const StrategyChoice before = choose_strategy(asked, rates);
    EXPECT_EQ(before.plan, ring);
    rates.grid = {.new_pages = {1}, .cached_pages = {0}};
    rates.probed = {{ring, {{6e-4, 1e-4}}}, {gather, {{1e-4, 1e-4}}}};
    EXPECT_EQ(choose_strategy(asked, rates).plan, followed ? gather : ring) << rows;
  }
}

// Rings inside one host are believed to be worth their hand-overs if that was seen.
TEST(ChooseStrategyTest, ADoubleRingOnOneHostIsChosenOnlyByWhatProbesShow) {
  const PlannedStrategy ring{Strategy::kRing}, rings{Strategy::kDoubleRing, 2};
  StrategyQuestion asked = question(0, 256, 4);
  asked.planned = {ring, rings};
  MachineRates rates = network(1e9);
  rates.grid = {.new_pages = {1}, .cached_pages = {0}};
  rates.probed = {{ring, {{6e-4, 1e-4}}}};
  const StrategyChoice unseen = choose_strategy(asked, rates);
  EXPECT_EQ(unseen.plan, ring);
  EXPECT_THAT(candidate(unseen, Strategy::kDoubleRing).dropped, HasSubstr("as far as is measured"));
  rates.probed.push_back({rings, {{5e-4, 1e-4}}});
  EXPECT_EQ(choose_strategy(asked, rates).plan, rings);

  asked = question(0, 256, 3);
  asked.planned = {ring, {Strategy::kDoubleRing, 3}};
  rates.probed = {{ring, {{6e-4, 1e-4}}}, {{Strategy::kDoubleRing, 3}, {{1e-4, 1e-4}}}};
  EXPECT_THAT(candidate(choose_strategy(asked, rates), Strategy::kDoubleRing).dropped,
              HasSubstr("the same as ring"));
}

// One strategy serves all layers: what counts is their sum, and the memory of the greediest.
TEST(ChooseStrategyTest, LayersUnderSeveralMasksCountEachByItsNumber) {
  const Deal deal{.first = 60'000, .count = 512, .ranks = 4, .block = 16};
  StrategyQuestion asked = question(60'000, 512, 4);
  asked.layers = {{split_shape(deal, 16, Mask::window(1024)), 5}, {split_shape(deal, 16), 1}};
  const MachineRates rates = network(1e9);
  const auto only = [&](std::size_t kind) {
    StrategyQuestion one = asked;
    one.layers = {asked.layers[kind]};
    return choose_strategy(one, rates);
  };
  const StrategyChoice both = choose_strategy(asked, rates);
  const StrategyChoice windows = only(0), causal = only(1);
  for (Strategy strategy : kStrategies) {
    const Candidate &mixed = candidate(both, strategy), &narrow = candidate(windows, strategy),
                    &wide = candidate(causal, strategy);
    EXPECT_NEAR(mixed.seconds, (5 * narrow.seconds + wide.seconds) / 6, 1e-12) << name(strategy);
    EXPECT_EQ(mixed.staging_bytes, wide.staging_bytes) << name(strategy);
    EXPECT_LE(narrow.seconds, wide.seconds) << name(strategy);
  }
  // Where keys travel, 1,023 cached columns of a window do instead of 60,000.
  EXPECT_LT(candidate(windows, Strategy::kRing).seconds,
            candidate(causal, Strategy::kRing).seconds / 10);
}

// A few rows behind a long cache: queries are lighter than keys. A whole prompt: keys hide.
TEST(ChooseStrategyTest, ShortChunksSendQueriesAndLongOnesSendKeys) {
  StrategyQuestion few = question(60'000, 8, 4);
  few.setting.heads.query_heads = 6;  // nothing for ulysses to divide by 4
  few.setting.heads.kv_heads = 6;
  const Strategy chosen = choose_strategy(few, network(1e8)).plan.strategy;
  EXPECT_TRUE(chosen == Strategy::kGatherQuery || chosen == Strategy::kQueryRing) << name(chosen);

  const StrategyChoice all = choose_strategy(question(0, 60'000, 4), network(1e9));
  EXPECT_TRUE(passes_keys(all.plan.strategy)) << describe(all, 4);
}

TEST(ChooseStrategyTest, QueriesOfOneRankDoNotVisitTheOthersInTurn) {
  const PlannedStrategy in_turn{Strategy::kQueryRing}, at_once{Strategy::kGatherQuery};
  StrategyQuestion asked = question(60'000, 16, 4);
  EXPECT_THAT(examine(in_turn, asked, network(1e8)).dropped, HasSubstr("all others at once"));
  EXPECT_EQ(examine(at_once, asked, network(1e8)).dropped, "");
  asked.planned = {in_turn};  // no memory for the other
  EXPECT_EQ(examine(in_turn, asked, network(1e8)).dropped, "");
  EXPECT_EQ(examine(in_turn, question(60'000, 17, 4), network(1e8)).dropped, "");
}

TEST(ChooseStrategyTest, PagesElsewhereLeaveOnlyStrategiesThatPassKeys) {
  StrategyQuestion asked = question(60'000, 8, 4);
  asked.identity = false;
  const StrategyChoice choice = choose_strategy(asked, network(1e8));
  EXPECT_TRUE(passes_keys(choice.plan.strategy));
  for (const Candidate& one : choice.candidates) {
    if (!passes_keys(one.plan.strategy)) {
      EXPECT_THAT(one.dropped, HasSubstr("kept by other ranks"));
    }
  }
}

TEST(ChooseStrategyTest, RefusedStrategiesAreListedWithTheirReason) {
  StrategyQuestion asked = question(0, 1000, 8);
  asked.setting.heads = {.query_heads = 28, .kv_heads = 4, .head_dim = 64};
  const StrategyChoice choice = choose_strategy(asked, network(1e9));
  EXPECT_THAT(candidate(choice, Strategy::kUlysses).dropped, HasSubstr("usable degrees: 1 2 4 7"));
  EXPECT_THAT(candidate(choice, Strategy::kDoubleRing).dropped, HasSubstr("one host"));
  EXPECT_THAT(describe(choice, 8), HasSubstr("not ulysses: ulysses degree 8 does not divide"));
}

TEST(ChooseStrategyTest, WhatDoesNotFitTheStagingMemoryIsDropped) {
  StrategyQuestion asked = question(0, 8000, 4);
  const StrategyChoice free = choose_strategy(asked, network(1e9));
  asked.staging_bytes = candidate(free, Strategy::kRing).staging_bytes;
  const StrategyChoice tight = choose_strategy(asked, network(1e9));
  EXPECT_EQ(candidate(tight, Strategy::kRing).dropped, "");
  EXPECT_THAT(candidate(tight, Strategy::kAllGather).dropped, HasSubstr("of staging"));
  for (const Candidate& one : tight.candidates) {
    EXPECT_TRUE(!one.dropped.empty() || one.staging_bytes <= asked.staging_bytes);
  }
}

TEST(ChooseStrategyTest, WithoutMemoryForAnythingTheLeastIsTakenAndSaid) {
  StrategyQuestion asked = question(0, 8000, 4);
  asked.staging_bytes = 1;
  const StrategyChoice choice = choose_strategy(asked, network(1e9));
  EXPECT_EQ(choice.plan.strategy, Strategy::kRing);
  EXPECT_THAT(choice.reason, HasSubstr("nothing fits"));
}

// Fast links: the ring and the all-gather both hide everything.
TEST(ChooseStrategyTest, WithinTwoPercentThePreviousChoiceStays) {
  StrategyQuestion asked = question(0, 16'000, 4);
  MachineRates rates = network(1e13, 0);
  rates.launch_seconds = 0;
  EXPECT_EQ(choose_strategy(asked, rates).plan.strategy, Strategy::kRing);
  asked.previous = PlannedStrategy{Strategy::kAllGather, 1};
  const StrategyChoice kept = choose_strategy(asked, rates);
  EXPECT_EQ(kept.plan.strategy, Strategy::kAllGather);
  asked.previous = PlannedStrategy{Strategy::kUlysses, 1};
  EXPECT_EQ(choose_strategy(asked, rates).plan.strategy, Strategy::kUlysses);
}

TEST(ChooseStrategyTest, WithinTwoPercentOneLaunchGoesBeforeHops) {
  StrategyQuestion asked = question(0, 20'000, 2);
  const MachineRates rates = network(1e11, 1e-9);
  EXPECT_EQ(choose_strategy(asked, rates).plan.strategy, Strategy::kRing);
  asked.setting.beside_kernels = true;
  EXPECT_EQ(choose_strategy(asked, rates).plan.strategy, Strategy::kAllGather);
}

TEST(ChooseStrategyTest, BeyondTwoPercentThePreviousChoiceGoes) {
  StrategyQuestion asked = question(60'000, 8, 4);
  const MachineRates slow = network(1e8);
  const StrategyChoice fresh = choose_strategy(asked, slow);
  ASSERT_GT(candidate(fresh, Strategy::kRing).seconds, 1.02 * fresh.seconds);
  asked.previous = PlannedStrategy{Strategy::kRing, 1};
  EXPECT_EQ(choose_strategy(asked, slow).plan, fresh.plan);
}

TEST(ChooseStrategyTest, ADroppedPreviousChoiceDoesNotStay) {
  StrategyQuestion asked = question(0, 16'000, 4);
  asked.identity = false;
  asked.previous = PlannedStrategy{Strategy::kUlysses, 1};
  EXPECT_TRUE(passes_keys(choose_strategy(asked, network(1e13, 0)).plan.strategy));
}

TEST(ChooseStrategyTest, ARankAloneTakesTheRing) {
  EXPECT_EQ(choose_strategy(question(100, 50, 1), network(1e9)).plan.strategy, Strategy::kRing);
}

TEST(ChooseStrategyTest, SeveralHostsWithSlowLinksTakeTheDoubleRing) {
  StrategyQuestion asked = question(0, 6000, 8);
  asked.setting.hosts = {0, 0, 0, 0, 1, 1, 1, 1};
  asked.identity = false;
  MachineRates rates = network(1e11, 1e-6);
  rates.between_hosts = {1e-4, 1e7};
  EXPECT_EQ(choose_strategy(asked, rates).plan, (PlannedStrategy{Strategy::kDoubleRing, 4}));
}

TEST(ChooseStrategyTest, ShapeAndSettingMustAgree) {
  StrategyQuestion asked = question(0, 100, 4);
  asked.setting.hosts.pop_back();
  EXPECT_THROW(choose_strategy(asked, network(1e9)), std::logic_error);
}

}  // namespace
}  // namespace longspan

#include "runtime/engine/strategy_picker.h"

#include <gmock/gmock.h>

#include <numeric>

#include "runtime/engine/deal_of_chunk.h"

namespace longspan {
namespace {

using testing::HasSubstr;

constexpr int kRanks = 4;
constexpr std::int64_t kPage = 16;
constexpr std::int64_t kPrompt = 64'000;

MachineRates network(double bytes_per_second) {
  const LinkRate link{1e-5, bytes_per_second};
  return {.attention = {{1, 1e10}, {64, 1e11}}, .inside_host = link, .between_hosts = link};
}

StrategyPickerOptions options(std::vector<PlannedStrategy> plans, double bytes_per_second) {
  StrategyPickerOptions options{.plans = plans,
                                .planned = {},
                                .rates = network(bytes_per_second),
                                .heads = {.query_heads = 8, .kv_heads = 8, .head_dim = 64},
                                .page_tokens = kPage,
                                .hosts = std::vector(kRanks, 0)};
  for (const PlannedStrategy& plan : plans) options.planned.insert(plan);
  return options;
}

StepPlan plan_of_all() {
  StepPlan plan;
  plan.group.resize(kRanks);
  std::iota(plan.group.begin(), plan.group.end(), 0);
  return plan;
}

PrefillChunk chunk(std::int64_t first, std::int64_t count, bool spread = true) {
  PrefillChunk chunk{.first = first, .count = count, .block = kPage};
  if (first > 0) return chunk;
  for (std::int64_t page = 0; page < kPrompt / kPage; ++page) {
    chunk.owners.push_back(spread ? static_cast<int>(page % kRanks) : kRanks - 1);
  }
  return chunk;
}

const std::vector<PlannedStrategy> kSome{
    {Strategy::kRing}, {Strategy::kAllGather}, {Strategy::kGatherQuery}};

TEST(StrategyPickerTest, TheOnlyPlanIsTakenWhateverItCosts) {
  StrategyPicker picker(options({{Strategy::kDoubleRing, 2}}, 1e6));
  const StrategyChoice choice = picker.pick(plan_of_all(), chunk(0, 4096));
  EXPECT_EQ(choice.plan, (PlannedStrategy{Strategy::kDoubleRing, 2}));
  EXPECT_GT(choice.seconds, 0);
}

TEST(StrategyPickerTest, WithoutMemoryForTheOnlyPlanRingIsTakenAndTheReasonSaysSo) {
  StrategyPickerOptions tight = options({{Strategy::kAllGather}}, 1e9);
  tight.planned = {PlannedStrategy{}};
  StrategyPicker picker(tight);
  const StrategyChoice choice = picker.pick(plan_of_all(), chunk(0, 4096));
  EXPECT_EQ(choice.plan, PlannedStrategy{});
  EXPECT_THAT(choice.reason, HasSubstr("all-gather needs"));
}

// The first chunk has nothing behind it, the last is short and has all.
TEST(StrategyPickerTest, ChunksOfOneRequestAreSplitInTheirOwnWays) {
  StrategyPicker picker(options(kSome, 1e8));
  const StrategyChoice first = picker.pick(plan_of_all(), chunk(0, kPrompt - 256));
  EXPECT_TRUE(passes_keys(first.plan.strategy)) << describe(first, kRanks);
  const StrategyChoice last = picker.pick(plan_of_all(), chunk(kPrompt - 256, 256));
  EXPECT_EQ(last.plan.strategy, Strategy::kGatherQuery) << describe(last, kRanks);
}

TEST(StrategyPickerTest, KeysThatLieElsewhereMustBePassedOn) {
  StrategyPicker picker(options(kSome, 1e8));
  picker.pick(plan_of_all(), chunk(0, kPrompt - 256, false));
  const StrategyChoice last = picker.pick(plan_of_all(), chunk(kPrompt - 256, 256));
  EXPECT_TRUE(passes_keys(last.plan.strategy)) << describe(last, kRanks);
}

TEST(StrategyPickerTest, AForgottenRequestsNumberMayComeBack) {
  StrategyPicker picker(options(kSome, 1e8));
  picker.pick(plan_of_all(), chunk(0, kPrompt, false));
  picker.forget(0);
  picker.pick(plan_of_all(), chunk(0, kPrompt - 256));
  const StrategyChoice last = picker.pick(plan_of_all(), chunk(kPrompt - 256, 256));
  EXPECT_EQ(last.plan.strategy, Strategy::kGatherQuery);
}

TEST(StrategyPickerTest, WhatHasNoMemoryIsNotChosen) {
  StrategyPickerOptions tight = options(kSome, 1e8);
  tight.planned = {{Strategy::kAllGather}};
  StrategyPicker picker(tight);
  EXPECT_EQ(picker.pick(plan_of_all(), chunk(0, 4096)).plan.strategy, Strategy::kAllGather);
}

TEST(DealOfChunkTest, EveryLayoutComesBack) {
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    EXPECT_EQ(layout_of(dealt_by(layout)), layout);
  }
}

}  // namespace
}  // namespace longspan

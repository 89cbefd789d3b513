#include "runtime/engine/strategy_picker.h"

#include <gmock/gmock.h>

#include <array>

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

/// World ranks, none of which is its own index.
constexpr std::array kGroup{3, 0, 1, 2};

PrefillChunk chunk(std::int64_t first, std::int64_t count) {
  return {.group = {kGroup.begin(), kGroup.end()}, .first = first, .count = count, .block = kPage};
}

std::vector<int> spread() {
  std::vector<int> owners;
  for (std::int64_t page = 0; page < kPrompt / kPage; ++page) {
    owners.push_back(kGroup[page % kRanks]);
  }
  return owners;
}

std::vector<int> on_one_rank() { return std::vector<int>(kPrompt / kPage, kGroup.back()); }

const std::vector<PlannedStrategy> kSome{
    {Strategy::kRing}, {Strategy::kAllGather}, {Strategy::kGatherQuery}};

TEST(StrategyPickerTest, TheOnlyPlanIsTakenWhateverItCosts) {
  StrategyPicker picker(options({{Strategy::kDoubleRing, 2}}, 1e6));
  const StrategyChoice choice = picker.pick(chunk(0, 4096), kPrompt, spread());
  EXPECT_EQ(choice.plan, (PlannedStrategy{Strategy::kDoubleRing, 2}));
  EXPECT_GT(choice.seconds, 0);
}

TEST(StrategyPickerTest, WithoutMemoryForTheOnlyPlanRingIsTakenAndTheReasonSaysSo) {
  StrategyPickerOptions tight = options({{Strategy::kAllGather}}, 1e9);
  tight.planned = {PlannedStrategy{}};
  StrategyPicker picker(tight);
  const StrategyChoice choice = picker.pick(chunk(0, 4096), kPrompt, spread());
  EXPECT_EQ(choice.plan, PlannedStrategy{});
  EXPECT_THAT(choice.reason, HasSubstr("all-gather needs"));
}

// The first chunk has nothing behind it, the last is short and has all.
TEST(StrategyPickerTest, ChunksOfOneRequestAreSplitInTheirOwnWays) {
  StrategyPicker picker(options(kSome, 1e8));
  const StrategyChoice first = picker.pick(chunk(0, kPrompt - 256), kPrompt, spread());
  EXPECT_TRUE(passes_keys(first.plan.strategy)) << describe(first, kRanks);
  const StrategyChoice last = picker.pick(chunk(kPrompt - 256, 256), kPrompt, spread());
  EXPECT_EQ(last.plan.strategy, Strategy::kGatherQuery) << describe(last, kRanks);
}

TEST(StrategyPickerTest, KeysThatLieElsewhereMustBePassedOn) {
  StrategyPicker picker(options(kSome, 1e8));
  picker.pick(chunk(0, kPrompt - 256), kPrompt, on_one_rank());
  const StrategyChoice last = picker.pick(chunk(kPrompt - 256, 256), kPrompt, on_one_rank());
  EXPECT_TRUE(passes_keys(last.plan.strategy)) << describe(last, kRanks);
}

TEST(StrategyPickerTest, NarrowPagesPassInLessTime) {
  StrategyPickerOptions narrow = options({{}}, 1e8);
  const auto seconds = [&](KvType type) {
    narrow.kv_type = type;
    const PrefillChunk last = chunk(kPrompt - 256, 256);
    return StrategyPicker(narrow).pick(last, kPrompt, spread()).seconds;
  };
  EXPECT_LT(seconds(KvType::kBFloat16), 0.6 * seconds(KvType::kFloat32));
  EXPECT_LT(seconds(KvType::kInt8), 0.6 * seconds(KvType::kBFloat16));
}

TEST(StrategyPickerTest, WhatHasNoMemoryIsNotChosen) {
  StrategyPickerOptions tight = options(kSome, 1e8);
  tight.planned = {{Strategy::kAllGather}};
  StrategyPicker picker(tight);
  EXPECT_EQ(picker.pick(chunk(0, 4096), kPrompt, spread()).plan.strategy, Strategy::kAllGather);
}

TEST(DealOfChunkTest, EveryLayoutComesBack) {
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    EXPECT_EQ(layout_of(dealt_by(layout)), layout);
  }
}

}  // namespace
}  // namespace longspan

#include "scheduler/cost_model.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace longspan {
namespace {

DecodeCost decode_cost(double fixed) {
  return {.fixed = fixed,
          .of_rows = {{1, 0.004}, {8, 0.005}, {32, 0.008}, {128, 0.020}},
          .per_key = 1e-8,
          .layers = 10,
          .latency = 1e-5,
          .bytes_per_s = 1e9};
}

CostModel model() {
  return {a100_prefill_costs(), {{1, decode_cost(0.001)}, {4, decode_cost(0.004)}}, 3};
}

TEST(DecodeCostTest, AStepCostsItsSlowestMaster) {
  const DecodeCost cost = decode_cost(0.001);
  EXPECT_DOUBLE_EQ(cost.seconds({.rows = 1}), 0.005);
  EXPECT_DOUBLE_EQ(cost.seconds({.rows = 8}), 0.006);
  EXPECT_DOUBLE_EQ(cost.seconds({.rows = 20}), 0.001 + 0.0065);
  EXPECT_DOUBLE_EQ(cost.seconds({.rows = 224}), 0.001 + 0.032) << "beyond the last: its slope";
  EXPECT_NEAR(cost.seconds({.rows = 1, .keys = 1000}), 0.005 + 1e-4, 1e-12);
  EXPECT_NEAR(cost.seconds({.rows = 1, .keys = 0, .exchanged_bytes = 1000}),
              0.005 + 10 * (2e-5 + 1e-6), 1e-12);
  EXPECT_EQ(DecodeCost{}.seconds({.rows = 3}), 0);
}

TEST(CostModelTest, DegreesThatWereNotMeasuredLieBetweenThoseThatWere) {
  const CostModel costs = model();
  const PrefillCost at_2 = costs.prefill(2), at_3 = costs.prefill(3), at_4 = costs.prefill(4);
  EXPECT_DOUBLE_EQ(at_2.a, 0.0258);
  EXPECT_DOUBLE_EQ(at_3.a, (at_2.a + at_4.a) / 2);
  EXPECT_DOUBLE_EQ(3 * at_3.b, (2 * at_2.b + 4 * at_4.b) / 2);
  EXPECT_DOUBLE_EQ(3 * at_3.d, (2 * at_2.d + 4 * at_4.d) / 2);
  const PrefillCost at_16 = costs.prefill(16), at_32 = costs.prefill(32);
  EXPECT_DOUBLE_EQ(at_32.a, at_16.a);
  EXPECT_DOUBLE_EQ(at_32.b, at_16.b / 2);
  EXPECT_DOUBLE_EQ(costs.decode(2).fixed, 0.002);
  EXPECT_DOUBLE_EQ(costs.decode(9).fixed, 0.004);
}

// Where the next degree becomes faster, of a whole prompt: 2,146, 11,104 and 31,945 tokens.
TEST(CostModelTest, LongPromptsAreFasterOnMoreRanks) {
  const CostModel costs = model();
  const auto seconds = [&](int degree, std::int64_t tokens) {
    return costs.prefill(degree).seconds(ChunkSize{0, tokens});
  };
  const auto expect_border = [&](int low, int high, std::int64_t tokens) {
    EXPECT_LT(seconds(low, tokens - tokens / 100), seconds(high, tokens - tokens / 100)) << high;
    EXPECT_GT(seconds(low, tokens + tokens / 100), seconds(high, tokens + tokens / 100)) << high;
  };
  expect_border(2, 4, 2146);
  expect_border(4, 8, 11'104);
  expect_border(8, 16, 31'945);
}

TEST(CostModelTest, AMixedStepPaysForOneStep) {
  const CostModel costs = model();
  const std::vector<ChunkSize> chunk{{0, 1000}};
  const DecodeShape rows{.rows = 8, .keys = 500};
  EXPECT_EQ(costs.step(1, {}, {}), 0);
  EXPECT_EQ(costs.step(1, chunk, {}), to_nanoseconds(costs.prefill(1).seconds(chunk)));
  EXPECT_EQ(costs.step(1, {}, rows), to_nanoseconds(costs.decode(1).seconds(rows)));
  EXPECT_NEAR(static_cast<double>(costs.step(1, chunk, rows)),
              static_cast<double>(costs.step(1, chunk, {}) + costs.step(1, {}, rows)) - 1e6, 2);
}

TEST(CostModelTest, WhatAPromptTakesAloneIsOfItsBestDegree) {
  const CostModel costs = model();
  EXPECT_EQ(costs.solo({0, 100}, 16, 4096),
            to_nanoseconds(costs.prefill(2).seconds(ChunkSize{0, 100})));
  EXPECT_EQ(costs.solo({0, 100}, 1, 4096),
            to_nanoseconds(costs.prefill(1).seconds(ChunkSize{0, 100})));
  EXPECT_EQ(costs.solo({0, 60'000}, 16, 4096),
            to_nanoseconds(costs.prefill(16).seconds(ChunkSize{0, 60'000})));
}

TEST(CostModelTest, NothingMeasuredIsNoModel) {
  EXPECT_THROW(CostModel({}, {{1, {}}}, 1), std::logic_error);
  EXPECT_THROW(CostModel(a100_prefill_costs(), {}, 1), std::logic_error);
}

}  // namespace
}  // namespace longspan

#include "scheduler/work_price.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

constexpr std::int64_t kMs = 1'000'000;

TEST(WorkPriceTest, WithoutCostsWorkIsTokens) {
  EXPECT_EQ(WorkPrice().of({.computed = 100, .prompt = 7, .answer = 3}), 10);
  EXPECT_EQ(WorkPrice().of({.computed = 100}), 0);
}

// 10 ms a step, a token 1 ms, a key before it 1 us; a row 2 ms and each key of an instance 10 us.
TEST(WorkPriceTest, WithCostsItIsWhatTheGroupsStepsTake) {
  const CostModel costs({{2, {.a = 0.010, .b = 0.001, .c = 1e-6, .d = 0}}},
                        {{2, {.fixed = 0.010, .of_rows = {{1, 0.002}}, .per_key = 1e-5}}}, 1);
  const WorkPrice price(costs, 2, 50);
  EXPECT_EQ(price.of({.prompt = 50}), 60 * kMs);
  EXPECT_EQ(price.of({.computed = 1000, .prompt = 50}), 110 * kMs);
  EXPECT_EQ(price.of({.prompt = 60}), (20 + 60) * kMs + 500'000) << "two steps, 10 tokens after 50";
  EXPECT_EQ(price.of({.computed = 100, .answer = 4}), 4 * (12 * kMs + 520'000))
      << "half way there are 102 keys, 52 at most with one of two";
  EXPECT_EQ(price.of({}), 0);
}

}  // namespace
}  // namespace longspan

#include "launch/bench/timing.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace longspan {
namespace {

TEST(TimingTest, OneRunIsItsOwnMedian) {
  const Timing timing = timing_of({3});
  EXPECT_EQ(timing.seconds, 3);
  EXPECT_EQ(timing.spread, 0);
  EXPECT_EQ(timing.runs, 1);
}

TEST(TimingTest, TheMedianLiesInTheMiddleInWhateverOrder) {
  EXPECT_EQ(timing_of({9, 1, 5}).seconds, 5);
  EXPECT_EQ(timing_of({1, 9}).seconds, 5);
  EXPECT_EQ(timing_of({100, 1, 2, 3}).seconds, 2.5);
}

TEST(TimingTest, TheBestIsTheShortest) { EXPECT_EQ(timing_of({9, 1, 5}).best, 1); }

TEST(TimingTest, TheSpreadIsOfTheMiddleHalf) {
  // 1 2 3 4 5 6 7 8: from the 3rd to the 7th, over a median of 4.5.
  EXPECT_DOUBLE_EQ(timing_of({8, 7, 6, 5, 4, 3, 2, 1}).spread, 4 / 4.5);
  EXPECT_EQ(timing_of({2, 2, 2, 2, 1000}).spread, 0);  // one outlier is none of it
  EXPECT_EQ(timing_of({0, 0}).spread, 0);
}

TEST(TimingTest, NothingHasNoTime) { EXPECT_THROW(timing_of({}), std::logic_error); }

}  // namespace
}  // namespace longspan

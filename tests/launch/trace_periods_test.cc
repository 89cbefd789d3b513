#include "launch/trace_periods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace longspan {
namespace {

using ::testing::ElementsAre;

TEST(TracePeriodsTest, OverlapsAndNeighboursBecomeOne) {
  EXPECT_THAT(united({{5, 7}, {1, 3}, {2, 4}, {4, 5}, {9, 9}}), ElementsAre(Period{1, 7}));
  EXPECT_THAT(united({{1, 9}, {2, 3}}), ElementsAre(Period{1, 9}));
  EXPECT_THAT(united({{3, 4}, {1, 2}}), ElementsAre(Period{1, 2}, Period{3, 4}));
  EXPECT_THAT(united({}), ElementsAre());
}

// Against a row of ticks, each in a set or not.
TEST(TracePeriodsTest, LengthsAreThoseOfCountingTicks) {
  std::mt19937 random(1);
  const auto draw = [&](int below) { return static_cast<std::int64_t>(random() % below); };
  for (int round = 0; round < 500; ++round) {
    constexpr int kTicks = 60;
    std::vector<Period> sets[2];
    bool ticks[2][kTicks] = {};
    for (int set = 0; set < 2; ++set) {
      for (auto count = draw(6); count > 0; --count) {
        const std::int64_t begin = draw(kTicks), end = begin + draw(kTicks - begin + 1);
        sets[set].push_back({begin, end});
        for (auto tick = begin; tick < end; ++tick) ticks[set][tick] = true;
      }
    }
    std::int64_t first = 0, both = 0;
    for (int tick = 0; tick < kTicks; ++tick) {
      first += ticks[0][tick];
      both += ticks[0][tick] && ticks[1][tick];
    }
    const auto a = united(sets[0]), b = united(sets[1]);
    EXPECT_EQ(length(a), first);
    EXPECT_EQ(common_length(a, b), both);
    EXPECT_EQ(common_length(b, a), both);
  }
}

}  // namespace
}  // namespace longspan

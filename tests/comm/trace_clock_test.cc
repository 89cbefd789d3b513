#include "comm/trace_clock.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <numeric>

#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;

/// A clock that is `skew` ahead of rank 0's.
ReadClock skewed(std::chrono::nanoseconds skew) {
  return [skew] { return steady_time() + skew; };
}

TEST(TraceClockTest, ARankOfAnotherHostFindsItsOffsetToWithinHalfARoundTrip) {
  constexpr std::array kSkews = {0ns, 5'000'000'000ns, -70'000'000'000ns};
  test::run_ranks(3, [&](Communicator& control) {
    const auto skew = kSkews[control.rank()];
    const TraceClock clock = agree_on_clock(control, {control.rank()}, skewed(skew));
    EXPECT_LE(std::abs((clock.offset + skew).count()), clock.round_trip.count() / 2 + 1)
        << "rank " << control.rank();
    EXPECT_LT(clock.round_trip, 1s);
  });
}

TEST(TraceClockTest, RanksOfOneHostShareAClockAndSendNoPing) {
  test::run_ranks(4, [&](Communicator& control) {
    // Ranks 0 and 2 on one host, 1 and 3 on another.
    const int first = control.rank() % 2;
    const TraceClock clock = agree_on_clock(control, {first, first + 2}, skewed(first * 1h));
    const auto expected = first == 0 ? 0ns : std::chrono::nanoseconds(-1h);
    EXPECT_NEAR(static_cast<double>(clock.offset.count()), static_cast<double>(expected.count()),
                1e9);
    if (first == 0) {
      EXPECT_EQ(clock.offset, 0ns);
      EXPECT_EQ(clock.round_trip, 0ns);
    }
  });
}

TEST(TraceClockTest, AllRanksNameTheRunAlikeAndNoTwoRunsDo) {
  std::array<std::array<std::uint64_t, 3>, 2> runs;
  for (auto& run : runs) {
    test::run_ranks(3, [&](Communicator& control) {
      std::vector<int> all(3);
      std::iota(all.begin(), all.end(), 0);
      run[control.rank()] = agree_on_clock(control, all).run;
    });
    EXPECT_EQ(run[0], run[1]);
    EXPECT_EQ(run[0], run[2]);
  }
  EXPECT_NE(runs[0][0], runs[1][0]);
}

}  // namespace
}  // namespace longspan

#include "launch/bench/rank_clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

constexpr std::chrono::milliseconds kFigure{20};

/// Of all ranks: what they heard, and which batches they were asked for.
struct Heard {
  std::mutex mutex;
  std::map<int, Timing> timings;
  std::map<int, std::vector<int>> batches;
};

TEST(RankClockTest, AllRanksDoTheSameBatchesAndHearTheSame) {
  for (int ranks : {1, 2, 5}) {
    Heard heard;
    test::run_machines(ranks, [&](Machine& machine) {
      std::vector<int> batches;
      const Timing timing = RankClock(machine, kFigure).time([&](int n) { batches.push_back(n); });
      const std::lock_guard lock(heard.mutex);
      heard.timings[machine.rank()] = timing;
      heard.batches[machine.rank()] = batches;
    });
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(heard.timings[rank].seconds, heard.timings[0].seconds);
      EXPECT_EQ(heard.timings[rank].spread, heard.timings[0].spread);
      EXPECT_EQ(heard.batches[rank], heard.batches[0]);
    }
    EXPECT_GE(heard.timings[0].runs, 3);
    EXPECT_EQ(std::ssize(heard.batches[0]), heard.timings[0].runs + 2);  // and the warm-up
  }
}

TEST(RankClockTest, RivalsTakeTurns) {
  std::mutex mutex;
  std::string turns;
  test::run_machines(2, [&](Machine& machine) {
    const auto rival = [&](char name) {
      return [&, name](int) {
        if (machine.rank() != 0) return;
        const std::lock_guard lock(mutex);
        turns += name;
      };
    };
    const std::vector<Timing> timings =
        RankClock(machine, kFigure).time_in_turn({rival('a'), rival('b'), rival('c')});
    ASSERT_EQ(timings.size(), 3U);
    EXPECT_GE(timings[0].runs, 15) << "batches of nothing take no time";
    for (const Timing& timing : timings) EXPECT_EQ(timing.runs, timings[0].runs);
  });
  ASSERT_EQ(turns.substr(0, 6), "aabbcc");
  for (std::size_t at = 6; at < turns.size(); at += 3) ASSERT_EQ(turns.substr(at, 3), "abc");
}

TEST(RankClockTest, LongBatchesAreNotRepeatedUntilTheyAreMany) {
  test::run_machines(1, [&](Machine& machine) {
    const Timing timing = RankClock(machine, std::chrono::milliseconds(1)).time([](int n) {
      std::this_thread::sleep_for(n * std::chrono::milliseconds(8));
    });
    EXPECT_EQ(timing.runs, 3);
  });
}

// A lower bound only: whatever else the machine does, nobody sleeps for less.
TEST(RankClockTest, TheSlowestRankCounts) {
  constexpr std::chrono::milliseconds kNap{3};
  test::run_machines(3, [&](Machine& machine) {
    const Timing timing = RankClock(machine, kFigure).time([&](int n) {
      if (machine.rank() == 2) std::this_thread::sleep_for(n * kNap);
    });
    EXPECT_GE(timing.seconds, std::chrono::duration<double>(kNap).count());
  });
}

TEST(RankClockTest, WorkOnAStreamIsOverWhenItsTimeEnds) {
  test::run_machines(2, [&](Machine& machine) {
    std::atomic<int> begun = 0, done = 0;
    const auto stream = machine.device().new_stream();
    RankClock(machine, kFigure).time(*stream, [&] {
      ++begun;
      stream->call([&] { ++done; });
    });
    EXPECT_EQ(begun, done);
    EXPECT_GE(done, 5);
  });
}

}  // namespace
}  // namespace longspan

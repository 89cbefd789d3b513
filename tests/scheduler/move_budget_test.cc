#include "scheduler/move_budget.h"

#include <gtest/gtest.h>

#include <random>

namespace longspan {
namespace {

constexpr Nanoseconds kMillisecond = 1'000'000;

int pages(MoveBudget& budget, Nanoseconds now, int wanted = 1000) {
  budget.come_to(now);
  int moved = 0;
  for (; moved < wanted && budget.allows_one(); ++moved) budget.take_one();
  return moved;
}

TEST(MoveBudgetTest, ABorderMovesWhatTheTimeSinceTheLastOneAllows) {
  MoveBudget budget(1'000'000, 10'000);  // a page is 10 ms
  EXPECT_EQ(pages(budget, 0), 1) << "the first goes at once";
  EXPECT_EQ(pages(budget, 9 * kMillisecond), 0);
  EXPECT_EQ(pages(budget, 10 * kMillisecond), 1) << "a part of a page is not lost";
  EXPECT_EQ(pages(budget, 45 * kMillisecond), 3);
  EXPECT_EQ(pages(budget, 45 * kMillisecond), 0);
  EXPECT_EQ(pages(budget, 50 * kMillisecond), 1);
  EXPECT_EQ(pages(budget, 40 * kMillisecond), 0) << "a clock that goes back";
  EXPECT_EQ(pages(budget, 80 * kMillisecond, 2), 2);
  EXPECT_EQ(pages(budget, 90 * kMillisecond), 2) << "what was not wanted is saved up";
}

TEST(MoveBudgetTest, ASecondIsSavedUpOrAPage) {
  MoveBudget budget(1'000'000, 10'000);
  EXPECT_EQ(pages(budget, Nanoseconds{3600} * 1000 * kMillisecond), 100);
  MoveBudget slow(1'000, 10'000);  // a page is 10 s
  EXPECT_EQ(pages(slow, 0), 1);
  EXPECT_EQ(pages(slow, 9'999 * kMillisecond), 0);
  EXPECT_EQ(pages(slow, 10'000 * kMillisecond), 1);
  EXPECT_EQ(pages(slow, 100'000 * kMillisecond), 1);
}

TEST(MoveBudgetTest, WithoutALimitOrAPagesSizeAllMayGo) {
  for (MoveBudget budget : {MoveBudget(0, 10), MoveBudget(10, 0)}) {
    EXPECT_EQ(pages(budget, 0), 1000);
    EXPECT_EQ(pages(budget, 0), 1000);
  }
}

TEST(MoveBudgetTest, InAllNeverMoreThanTheBudgetAndAlmostAllOfItWhereBordersAreClose) {
  std::mt19937 random(3);
  for (int job = 0; job < 200; ++job) {
    const std::int64_t bandwidth = 1 + random() % 5'000'000, page = 1 + random() % 20'000;
    MoveBudget budget(bandwidth, page);
    Nanoseconds now = 0;
    std::int64_t moved = 0;
    for (int border = 0; border < 50; ++border) {
      now += random() % (100 * kMillisecond);
      moved += pages(budget, now, 1 << 30) * page;
    }
    const double allowed = static_cast<double>(now) * 1e-9 * static_cast<double>(bandwidth);
    const double most = allowed * (1 + 1e-3) + static_cast<double>(page);
    EXPECT_LE(static_cast<double>(moved), most + 1);
    EXPECT_GE(static_cast<double>(moved), allowed * (1 - 1e-3) - static_cast<double>(page));
  }
}

}  // namespace
}  // namespace longspan

#include "scheduler/queue_order.h"

#include <gmock/gmock.h>

#include <map>
#include <vector>

namespace longspan {
namespace {

using testing::ElementsAre;

constexpr Nanoseconds kSecond = 1'000'000'000;

QueuedRequest queued(RequestId id, Nanoseconds arrival, Nanoseconds solo, int overtaken = 0) {
  return {.id = id,
          .arrival = arrival,
          .allowed = allowed_time(arrival, solo),
          .solo = solo,
          .overtaken = overtaken};
}

TEST(QueueOrderTest, LongOnesAreAllowedMoreTimeAndDeadlinesLess) {
  EXPECT_EQ(allowed_time(0, kSecond / 100), kSecond / 2);
  EXPECT_EQ(allowed_time(0, 4 * kSecond), 20 * kSecond);
  EXPECT_EQ(allowed_time(10 * kSecond, 4 * kSecond, 13 * kSecond), 3 * kSecond);
  EXPECT_EQ(allowed_time(10 * kSecond, kSecond, 9 * kSecond), 1) << "its deadline is over";
}

TEST(QueueOrderTest, SlackRunsOutWithTimeAndStaysWithinItsBounds) {
  const QueuedRequest request = queued(1, 0, kSecond);  // 5 s allowed
  EXPECT_EQ(slack(request, 0), kSlackSteps * 4 / 5);
  EXPECT_EQ(slack(request, 4 * kSecond), 0);
  EXPECT_EQ(slack(request, 5 * kSecond), -kSlackSteps / 5);
  EXPECT_EQ(slack(request, 3600 * kSecond), -kSlackSteps);
  EXPECT_EQ(slack(request, -3600 * kSecond), kSlackSteps);
}

// The long one is allowed 50 s and the short one 1 s: whoever has used up more of it is first.
TEST(QueueOrderTest, AShortRequestHardlyWaitsUntilTheLongOneHasWaitedItsTime) {
  const QueuedRequest prompt = queued(1, 0, 10 * kSecond);
  const auto with_short_one = [&](Nanoseconds arrival, Nanoseconds now) {
    return queue_order({prompt, queued(2, arrival, kSecond / 5)}, now, 16);
  };
  EXPECT_THAT(with_short_one(kSecond, kSecond), ElementsAre(1, 2));
  EXPECT_THAT(with_short_one(kSecond, kSecond + kSecond / 40), ElementsAre(2, 1));
  EXPECT_THAT(with_short_one(20 * kSecond, 20 * kSecond + kSecond / 10), ElementsAre(1, 2));
}

TEST(QueueOrderTest, LateRequestsComeInOrderOfArrivalAndEqualOnesInThatOfTheirNames) {
  EXPECT_THAT(queue_order({queued(3, 5, kSecond), queued(2, 7, 2 * kSecond), queued(1, 7, kSecond)},
                          3600 * kSecond, 16),
              ElementsAre(3, 1, 2));
}

TEST(QueueOrderTest, WhoWasOvertakenOftenEnoughIsNextWhateverTheOthersSlack) {
  EXPECT_THAT(queue_order({queued(1, 0, kSecond / 10), queued(2, 5, 50 * kSecond, 3),
                           queued(3, 2, 70 * kSecond, 3)},
                          kSecond / 4, 3),
              ElementsAre(3, 2, 1));
}

/// Every second a short request is there that has waited for a while: without the bound a long one,
/// whose slack is large for minutes, would wait for minutes.
TEST(QueueOrderTest, EveryRequestIsTakenWithinItsBound) {
  std::vector<QueuedRequest> queue{queued(0, 0, 100 * kSecond)};
  RequestId next = 1;
  for (Nanoseconds now = 0; now < 100 * kSecond; now += kSecond) {
    queue.push_back(queued(next++, now - kSecond * 3 / 10, kSecond / 10));
    const RequestId taken = queue_order(queue, now, 16).front();
    if (taken == 0) {
      EXPECT_EQ(now, 16 * kSecond);
      return;
    }
    ++queue.front().overtaken;
    std::erase_if(queue, [&](const QueuedRequest& request) { return request.id == taken; });
  }
  FAIL() << "the long one starved";
}

TEST(QueueOrderTest, WhatSomebodyWaitsForComesFirstButABatchIsTakenAtLast) {
  std::vector<QueuedRequest> queue{queued(1, 0, kSecond), queued(2, kSecond, kSecond),
                                   queued(3, 2 * kSecond, kSecond)};
  queue[0].urgency = Urgency::kBatch;
  EXPECT_THAT(queue_order(queue, 9 * kSecond, 16), ElementsAre(2, 3, 1));
  queue[0].overtaken = 15;
  EXPECT_THAT(queue_order(queue, 9 * kSecond, 16), ElementsAre(2, 3, 1));
  queue[0].overtaken = 16;
  EXPECT_THAT(queue_order(queue, 9 * kSecond, 16), ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace longspan

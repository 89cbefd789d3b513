#include "launch/batch/batch_progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>

namespace longspan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const BatchProgress::Clock::time_point kStart;

/// What update() says at each of these times after the start.
std::string said(const BatchCounts& counts, std::initializer_list<milliseconds> times) {
  BatchProgress progress(false, kStart);
  testing::internal::CaptureStderr();
  for (const milliseconds time : times) progress.update(counts, kStart + time);
  return testing::internal::GetCapturedStderr();
}

TEST(BatchProgressTest, WithoutATerminalThereIsALineEveryFiveSeconds) {
  const BatchCounts counts{.requests = 3, .done = 1};
  const std::string line = "longspan: 1 of 3 requests";
  EXPECT_EQ(said(counts, {seconds(0), milliseconds(4999)}), "");
  EXPECT_TRUE(said(counts, {seconds(5)}).starts_with(line));
  const std::string two = said(counts, {seconds(5), seconds(6), milliseconds(9999), seconds(10)});
  EXPECT_EQ(std::ranges::count(two, '\n'), 2);
}

TEST(BatchProgressTest, SaysRatesOfTheLastTenSeconds) {
  BatchProgress progress(false, kStart);
  BatchCounts counts{.requests = 2};
  for (int second = 0; second <= 30; ++second) {
    counts.read = 100 * std::min(second, 20);  // nothing is read in the last ten
    counts.written = 7 * second;
    testing::internal::CaptureStderr();
    progress.update(counts, kStart + seconds(second));
    testing::internal::GetCapturedStderr();
  }
  EXPECT_EQ(progress.text(counts, kStart + seconds(30)),
            "0 of 2 requests, 0 tokens/s in, 7 out, KV 0 %");
}

TEST(BatchProgressTest, TheTimeLeftIsThatOfTheWorkLeft) {
  const BatchProgress progress(false, kStart);
  const BatchCounts counts{
      .requests = 100, .earlier = 50, .done = 59, .failed = 2, .under_way = 1, .kv_share = 0.451};
  // Ten requests' worth in 20 seconds, of work that earlier runs left; 40 are left.
  EXPECT_EQ(progress.text(counts, kStart + seconds(20)),
            "59 of 100 requests (2 failed), 0 tokens/s in, 0 out, KV 45 %, 1 min 20 s left");
}

TEST(BatchProgressTest, NothingIsDividedByNothing) {
  const BatchProgress progress(true, kStart);
  EXPECT_EQ(progress.text({}, kStart), "0 of 0 requests, KV 0 %");
  EXPECT_EQ(progress.text({.requests = 1}, kStart).front(), '[');
}

}  // namespace
}  // namespace longspan

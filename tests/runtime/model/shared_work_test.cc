#include "runtime/model/shared_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace longspan {
namespace {

TEST(SharedWorkTest, EveryPieceIsDoneOnce) {
  for (const int threads : {1, 2, 7}) {
    for (const std::size_t pieces : {0, 1, 6, 7, 8, 100}) {
      std::vector<std::atomic<int>> done(pieces);
      share_work(pieces, threads, [&](std::size_t piece, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        ++done[piece];
      });
      for (const auto& times : done) EXPECT_EQ(times, 1);
    }
  }
}

TEST(SharedWorkTest, NothingIsBegunAfterAFailure) {
  std::atomic<int> begun = 0;
  const auto work = [&](std::size_t piece, int) {
    ++begun;
    if (piece == 3) throw std::runtime_error("piece 3");
  };
  EXPECT_THROW(share_work(1000, 1, work), std::runtime_error);
  EXPECT_EQ(begun, 4);
  EXPECT_THROW(share_work(1000, 4, work), std::runtime_error);
}

}  // namespace
}  // namespace longspan

#include "scheduler/pool_promise.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

TEST(PoolPromiseTest, WhatIsLeftIsNeitherPromisedNorPinnedNorHeadroom) {
  const PoolPromise pool{.capacity = 100, .headroom = 2, .promised = 90, .pinned = 3};
  EXPECT_EQ(pool.left(), 5);
  EXPECT_TRUE(pool.fits(5));
  EXPECT_FALSE(pool.fits(6));
}

TEST(PoolPromiseTest, ItHoldsUntilMoreIsPromisedThanThereIs) {
  PoolPromise pool{.capacity = 10, .promised = 10};
  EXPECT_TRUE(pool.holds());
  --pool.capacity;
  EXPECT_FALSE(pool.holds());
  EXPECT_FALSE(pool.fits(0)) << "nobody starts then";
}

TEST(PagesToGrantTest, AreOneMoreThanNeededAndSixtyFourTokensMore) {
  EXPECT_EQ(pages_to_grant(1, 1000, 128), 2) << "the page of the position, and one";
  EXPECT_EQ(pages_to_grant(128, 1000, 128), 2);
  EXPECT_EQ(pages_to_grant(129, 1000, 128), 3);
  EXPECT_EQ(pages_to_grant(1, 1000, 16), 5) << "65 tokens";
  EXPECT_EQ(pages_to_grant(16, 1000, 16), 5);
  EXPECT_EQ(pages_to_grant(17, 1000, 16), 6);
  EXPECT_EQ(pages_to_grant(1, 1000, 1), 65);
  EXPECT_EQ(pages_to_grant(0, 1000, 128), 1);
}

/// Whoever has them goes on for 64 steps without a plan, and opens a page without asking first.
TEST(PagesToGrantTest, LastForSixtyFourStepsAtAnyPageSize) {
  for (const std::int64_t page : {1, 7, 16, 63, 64, 65, 128}) {
    for (std::int64_t upto = 0; upto < 300; ++upto) {
      const std::int64_t pages = pages_to_grant(upto, 1000, page);
      EXPECT_GE(pages * page, upto + 64);
      EXPECT_GE((pages - 1) * page, upto);
      EXPECT_TRUE((pages - 1) * page < upto + 64 || (pages - 2) * page < upto)
          << "no more than that";
    }
  }
}

TEST(PagesToGrantTest, AreNeverMoreThanTheWorstCase) {
  EXPECT_EQ(pages_to_grant(120, 1, 128), 1);
  EXPECT_EQ(pages_to_grant(17, 4, 16), 4);
}

}  // namespace
}  // namespace longspan

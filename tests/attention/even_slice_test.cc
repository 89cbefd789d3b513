#include "attention/even_slice.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

TEST(EvenSliceTest, PartsFollowOneAnotherCoverAllAndDifferByOneUnit) {
  for (int width : {0, 1, 63, 64, 65, 576, 960, 1000, 1536, 49152}) {
    for (int unit : {1, 64}) {
      for (int parts = 1; parts <= 11; ++parts) {
        int next = 0;
        const int units = (width + unit - 1) / unit;
        for (int part = 0; part < parts; ++part) {
          const Slice slice = even_slice(width, unit, part, parts);
          EXPECT_EQ(slice.first, next);
          next += slice.count;
          if (next < width) {
            EXPECT_EQ(next % unit, 0);
          }
          const int own_units = (slice.count + unit - 1) / unit;
          EXPECT_GE(own_units, units / parts);
          EXPECT_LE(own_units, (units + parts - 1) / parts);
        }
        EXPECT_EQ(next, width);
      }
    }
  }
}

TEST(EvenSliceTest, FewerUnitsThanPartsLeaveSomeEmpty) {
  EXPECT_EQ(even_slice(9, 1, 0, 2), (Slice{0, 4}));
  EXPECT_EQ(even_slice(9, 1, 1, 2), (Slice{4, 5}));
  EXPECT_EQ(even_slice(100, 64, 0, 3), (Slice{0, 0}));
  EXPECT_EQ(even_slice(100, 64, 1, 3), (Slice{0, 64}));
  EXPECT_EQ(even_slice(100, 64, 2, 3), (Slice{64, 36}));
}

}  // namespace
}  // namespace longspan

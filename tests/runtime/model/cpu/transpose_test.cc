#include "runtime/model/cpu/transpose.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace longspan {
namespace {

TEST(TransposeTest, RowsOfAnySizeBecomeColumnsAndNothingElseIsWritten) {
  for (std::int64_t rows : {0, 1, 7, 8, 9, 16, 37}) {
    for (std::int64_t columns : {0, 1, 7, 8, 9, 16, 41}) {
      const std::int64_t from_stride = columns + 3, to_stride = rows + 5;
      std::vector<float> from(rows * from_stride + 1);
      std::iota(from.begin(), from.end(), 1.0f);
      std::vector<float> to(columns * to_stride + 1, -1.0f);
      transpose(from.data(), rows, columns, from_stride, to.data(), to_stride);
      for (std::int64_t c = 0; c < columns; ++c) {
        for (std::int64_t r = 0; r < to_stride; ++r) {
          const float expected = r < rows ? from[r * from_stride + c] : -1.0f;
          ASSERT_EQ(to[c * to_stride + r], expected) << rows << " x " << columns;
        }
      }
      EXPECT_EQ(to.back(), -1.0f);
    }
  }
}

}  // namespace
}  // namespace longspan

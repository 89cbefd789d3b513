#include "runtime/model/cpu/transpose.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

namespace longspan {
namespace {

/// Where a cache line begins, `values` of -1.
struct Lines {
  explicit Lines(std::int64_t values) : memory(values + 16, -1.0f) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    first = memory.data() + (64 - address % 64) % 64 / sizeof(float);
  }
  std::vector<float> memory;
  float* first;
};

class TransposeTest : public testing::TestWithParam<std::int64_t> {};

TEST_P(TransposeTest, RowsOfAnySizeBecomeColumnsAndNothingElseIsWritten) {
  for (std::int64_t rows : {0, 1, 7, 8, 9, 16, 24, 37}) {
    for (std::int64_t columns : {0, 1, 7, 8, 9, 16, 41}) {
      const std::int64_t from_stride = columns + 3, to_stride = GetParam();
      std::vector<float> from(rows * from_stride + 1);
      std::iota(from.begin(), from.end(), 1.0f);
      Lines to(columns * to_stride + 1);
      transpose(from.data(), rows, columns, from_stride, to.first, to_stride);
      for (std::int64_t c = 0; c < columns; ++c) {
        for (std::int64_t r = 0; r < to_stride; ++r) {
          const float expected = r < rows ? from[r * from_stride + c] : -1.0f;
          ASSERT_EQ(to.first[c * to_stride + r], expected) << rows << " x " << columns;
        }
      }
      EXPECT_EQ(to.first[columns * to_stride], -1.0f);
    }
  }
}

// Columns that begin where lines do, which are stored past the caches, and others.
INSTANTIATE_TEST_SUITE_P(Strides, TransposeTest, testing::Values(37, 42, 48, 64),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace longspan

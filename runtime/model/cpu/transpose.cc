#include "runtime/model/cpu/transpose.h"

#include <algorithm>

#include "runtime/model/cpu/vectorise.h"

namespace longspan {
namespace {

constexpr int kTile = 8;  // floats of a vector
typedef float Floats __attribute__((vector_size(32)));
typedef float Unaligned __attribute__((vector_size(32), may_alias, aligned(alignof(float))));

/// Of 8 x 8 values: rows are interleaved by ones, then by pairs, then by halves.
[[gnu::always_inline]] inline void transpose_tile(const float* from, std::int64_t from_stride,
                                                  float* to, std::int64_t to_stride) {
  Floats row[kTile], pair[kTile], quad[kTile];
#pragma GCC unroll 8
  for (int r = 0; r < kTile; ++r) {
    row[r] = *reinterpret_cast<const Unaligned*>(from + r * from_stride);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kTile; r += 2) {
    pair[r] = __builtin_shufflevector(row[r], row[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pair[r + 1] = __builtin_shufflevector(row[r], row[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int r = 0; r < kTile; r += 4) {
    for (int i = 0; i < 2; ++i) {
      const Floats a = pair[r + i], b = pair[r + i + 2];
      quad[r + 2 * i] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      quad[r + 2 * i + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < kTile / 2; ++c) {
    const Floats a = quad[c], b = quad[c + kTile / 2];
    *reinterpret_cast<Unaligned*>(to + c * to_stride) =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    *reinterpret_cast<Unaligned*>(to + (c + kTile / 2) * to_stride) =
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

}  // namespace

void transpose(const float* from, std::int64_t rows, std::int64_t columns, std::int64_t from_stride,
               float* to, std::int64_t to_stride) {
  vectorised([=]() LONGSPAN_INLINE_BODY {
    const std::int64_t whole_rows = rows / kTile * kTile;
    const std::int64_t whole_columns = columns / kTile * kTile;
    // All rows of a few columns: what is written lies together.
    for (std::int64_t c = 0; c < whole_columns; c += kTile) {
      for (std::int64_t r = 0; r < whole_rows; r += kTile) {
        transpose_tile(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
      }
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) {
        to[c * to_stride + r] = from[r * from_stride + c];
      }
    }
  });
}

}  // namespace longspan

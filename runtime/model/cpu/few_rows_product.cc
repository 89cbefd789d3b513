#include "runtime/model/cpu/few_rows_product.h"

#include <omp.h>

#include <algorithm>

#include "runtime/model/cpu/vectorise.h"

namespace longspan {
namespace {

/// Values in a cache line; a thread's share is a multiple of it.
constexpr std::int64_t kLine = 16;
/// Rows of w per pass over the sums: four multiply-adds for each load and store of a sum.
constexpr int kInputs = 4;
/// Columns per pass: the sums of all rows stay in the L1 cache.
constexpr std::int64_t kColumns = 512;
/// Sums lie closer than the rows of `out`, whose distance is often a multiple of 4 KiB: then they
/// would share a few places of the cache.
constexpr std::int64_t kStride = kColumns + kLine;

typedef float Floats __attribute__((vector_size(32), may_alias));
typedef float Unaligned __attribute__((vector_size(32), may_alias, aligned(alignof(float))));
constexpr std::int64_t kWidth = sizeof(Floats) / sizeof(float);

/// sums += x w for kRows rows, kCount inputs and kVectors vectors of columns.
template <int kRows, int kCount, int kVectors>
[[gnu::always_inline]] inline void fold_vectors(const float* x, std::int64_t inputs, const float* w,
                                                std::int64_t w_stride, float* sums) {
  Floats weights[kCount][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      weights[i][v] = *reinterpret_cast<const Unaligned*>(w + i * w_stride + v * kWidth);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Unaligned* at = reinterpret_cast<Unaligned*>(sums + r * kStride + v * kWidth);
      Floats sum = *at;
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) sum += x[r * inputs + i] * weights[i][v];
      *at = sum;
    }
  }
}

/// The same for `columns` columns.
template <int kRows, int kCount>
[[gnu::always_inline]] inline void fold(const float* x, std::int64_t inputs, const float* w,
                                        std::int64_t w_stride, std::int64_t columns, float* sums) {
  std::int64_t j = 0;
  for (; j + 2 * kWidth <= columns; j += 2 * kWidth) {
    fold_vectors<kRows, kCount, 2>(x, inputs, w + j, w_stride, sums + j);
  }
  for (; j + kWidth <= columns; j += kWidth) {
    fold_vectors<kRows, kCount, 1>(x, inputs, w + j, w_stride, sums + j);
  }
  for (; j < columns; ++j) {
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kCount; ++i)
        sums[r * kStride + j] += x[r * inputs + i] * w[i * w_stride + j];
    }
  }
}

template <int kCount>
[[gnu::always_inline]] inline void fold_rows(const float* x, std::int64_t rows, std::int64_t inputs,
                                             const float* w, std::int64_t w_stride,
                                             std::int64_t columns, float* sums) {
  for (; rows >= 4; rows -= 4, x += 4 * inputs, sums += 4 * kStride) {
    fold<4, kCount>(x, inputs, w, w_stride, columns, sums);
  }
  if (rows == 3) fold<3, kCount>(x, inputs, w, w_stride, columns, sums);
  if (rows == 2) fold<2, kCount>(x, inputs, w, w_stride, columns, sums);
  if (rows == 1) fold<1, kCount>(x, inputs, w, w_stride, columns, sums);
}

/// Columns [0, columns) of w and out; columns <= kColumns.
void multiply_columns(const float* x, std::int64_t rows, const float* w, std::int64_t w_stride,
                      std::int64_t inputs, std::int64_t outputs, std::int64_t columns, float* out,
                      bool accumulate) {
  alignas(64) float sums[kFewRows * kStride];
  for (std::int64_t row = 0; row < rows; ++row) {
    float* start = sums + row * kStride;
    if (accumulate) {
      std::copy_n(out + row * outputs, columns, start);
    } else {
      std::fill_n(start, columns, 0.0f);
    }
  }
  float* const at = sums;
  vectorised([=]() LONGSPAN_INLINE_BODY {
    std::int64_t i = 0;
    for (; i + kInputs <= inputs; i += kInputs) {
      fold_rows<kInputs>(x + i, rows, inputs, w + i * w_stride, w_stride, columns, at);
    }
    for (; i < inputs; ++i) {
      fold_rows<1>(x + i, rows, inputs, w + i * w_stride, w_stride, columns, at);
    }
  });
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(sums + row * kStride, columns, out + row * outputs);
  }
}

}  // namespace

void multiply_few_rows(const float* x, std::int64_t rows, const float* w, std::int64_t w_stride,
                       std::int64_t inputs, std::int64_t outputs, float* out, bool accumulate) {
  const auto share = [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t column = begin; column < end; column += kColumns) {
      multiply_columns(x, rows, w + column, w_stride, inputs, outputs,
                       std::min(kColumns, end - column), out + column, accumulate);
    }
  };
  const int threads = omp_get_max_threads();
  if (threads == 1) return share(0, outputs);
  const std::int64_t lines = (outputs + kLine - 1) / kLine;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int thread = 0; thread < threads; ++thread) {
    share(lines * thread / threads * kLine,
          std::min(outputs, lines * (thread + 1) / threads * kLine));
  }
}

}  // namespace longspan

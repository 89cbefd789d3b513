// A few rows times a matrix, at the speed the matrix can be read.
//
// Decode multiplies as many rows as requests run. Where oneDNN has no kernels of its own for that
// (float32 without AVX-512) it copies the whole matrix into another order first, whatever the
// number of rows: 7 rows through a 135M model took four times as long as one.
#pragma once

#include <cstdint>

namespace longspan {

/// Rows up to which this is the faster way.
inline constexpr std::int64_t kFewRows = 16;

/// out (rows, outputs) = x (rows, inputs) times w (inputs, outputs), or is added to; on the calling
/// thread and its OpenMP team. All are row-major; rows of w lie `w_stride` values apart, so that w
/// may be a part of a wider matrix. A row's sums run over the inputs in order, so its bits depend
/// neither on the other rows nor on the threads.
void multiply_few_rows(const float* x, std::int64_t rows, const float* w, std::int64_t w_stride,
                       std::int64_t inputs, std::int64_t outputs, float* out, bool accumulate);

}  // namespace longspan

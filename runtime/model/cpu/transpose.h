// Rows of a matrix become columns, as fast as memory takes them: what packing weights comes to.
#pragma once

#include <cstdint>

namespace longspan {

/// to[c * to_stride + r] = from[r * from_stride + c] for each r < rows and c < columns. Strides are
/// values; the two may not overlap. Where whole cache lines are written they are not in the caches
/// afterwards.
void transpose(const float* from, std::int64_t rows, std::int64_t columns, std::int64_t from_stride,
               float* to, std::int64_t to_stride);

}  // namespace longspan

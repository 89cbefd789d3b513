// Attention over some of the keys, in a form that can be continued or merged.
//
// Inside a rank the running state of the softmax is carried from launch to launch; only what
// leaves a rank is normalised. Both are fp32 and never rounded (attention over any partition of the
// keys, merged by log-sum-exp, equals attention over all of them).
#pragma once

#include <cstdint>

#include "attention/segment.h"

namespace longspan {

/// Running softmax of rows x heads: sum of exp(s - m) * v, and l = sum of exp(s - m), of scores s
/// so far (scaled, in natural-log units). m is the largest of them, or one that is less by no more
/// than 6; -inf before any key.
struct RunningState {
  float* acc = nullptr;  // (rows, query_heads, head_dim)
  float* m = nullptr;    // (rows, query_heads)
  float* l = nullptr;    // (rows, query_heads)
};

/// O = acc / l and lse = m + ln l (natural log). No visible key: O = 0, lse = -inf.
struct Partial {
  float* o = nullptr;    // (rows, query_heads, head_dim)
  float* lse = nullptr;  // (rows, query_heads)
};

/// Values of the queries, and of a partial, of one row.
inline std::int64_t query_values(const HeadShape& shape) {
  return static_cast<std::int64_t>(shape.query_heads) * shape.head_dim;
}
inline std::int64_t partial_values(const HeadShape& shape) {
  return static_cast<std::int64_t>(shape.query_heads) * (shape.head_dim + 1);
}
/// A partial of `rows` rows as one message: all O, then all lse.
inline Partial partial_at(float* memory, std::int64_t rows, const HeadShape& shape) {
  return {.o = memory, .lse = memory + rows * query_values(shape)};
}
/// Row `row` of a partial.
inline Partial partial_row(const Partial& rows, std::int64_t row, const HeadShape& shape) {
  return {.o = rows.o + row * query_values(shape), .lse = rows.lse + row * shape.query_heads};
}

}  // namespace longspan

// The order in which a file keeps the dimensions of a query or key head, against the half-split
// order that rope.h turns. Queries and keys are reordered alike while they are loaded, which leaves
// their products as they were.
#pragma once

#include <cstdint>

namespace longspan {

struct HeadOrder {
  int head_dim = 0;          // 0: rows stay in file order
  int rotated = 0;           // the first dimensions of a head, those that RoPE turns; even
  bool interleaved = false;  // a dimension turns with its neighbour (GGUF), not half of them away

  bool keeps_order() const { return !interleaved && rotated == head_dim; }

  /// Where dimension `i` of a head in half-split order lies in the file's head.
  ///
  /// In either half, first come the dimensions that turn, then those that do not:
  ///
  ///   half-split file   a0 a1 b0 b1 r0 r1 r2 r3      a0 turns with b0
  ///   interleaved file  a0 b0 a1 b1 r0 r1 r2 r3
  ///   ours              a0 a1 r0 r1 | b0 b1 r2 r3
  constexpr int dimension(int i) const {
    const int half = head_dim / 2, pairs = rotated / 2;
    const int second = i / half, in_half = i % half;
    if (in_half >= pairs) return rotated + second * (half - pairs) + in_half - pairs;
    return interleaved ? 2 * in_half + second : second * pairs + in_half;
  }
  /// The same for a row of a projection to heads.
  constexpr std::int64_t row(std::int64_t row) const {
    const auto in_head = static_cast<int>(row % head_dim);
    return row - in_head + dimension(in_head);
  }
};

}  // namespace longspan

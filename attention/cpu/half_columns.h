// The columns of one key tile that lie in bfloat16, as pointers into pages.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "attention/cpu/matrix_kernels.h"
#include "attention/segment.h"

namespace longspan {

class HalfColumns {
 public:
  void clear() { columns_ = 0; }

  /// Columns [begin, begin + count) of one head of a bfloat16 view; at most kTileColumns in all.
  void append(const KvView& view, int kv_head, int head_dim, std::int64_t begin, int count) {
    for (std::int64_t column = begin; column < begin + count; ++column) {
      const std::int64_t at = view.offset(column, kv_head, head_dim);
      k_[columns_] = static_cast<const std::uint16_t*>(view.k) + at;
      v_[columns_] = static_cast<const std::uint16_t*>(view.v) + at;
      ++columns_;
    }
  }

  /// Valid until the next change.
  HalfTile tile() const { return {k_.data(), v_.data(), columns_}; }

 private:
  int columns_ = 0;
  std::array<const std::uint16_t*, kTileColumns> k_;
  std::array<const std::uint16_t*, kTileColumns> v_;
};

}  // namespace longspan

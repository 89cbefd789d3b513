// The columns of one key tile that lie in bfloat16, as pointers into pages.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "attention/cpu/matrix_kernels.h"
#include "attention/segment.h"

namespace longspan {

/// visit(first column, columns) for each page of columns [begin, begin + count): what lies in a
/// row.
template <typename Visit>
void for_each_page(const KvView& view, std::int64_t begin, std::int64_t count, const Visit& visit) {
  const std::int64_t end = begin + count;
  for (std::int64_t column = begin; column < end;) {
    const std::int64_t page_end = (column / view.page_tokens + 1) * view.page_tokens;
    const std::int64_t here = std::min(end, page_end) - column;
    visit(column, here);
    column += here;
  }
}

class HalfColumns {
 public:
  void clear() { columns_ = 0; }

  /// Columns [begin, begin + count) of one head of a bfloat16 view; at most kTileColumns in all.
  void append(const KvView& view, int kv_head, int head_dim, std::int64_t begin, int count) {
    for_each_page(view, begin, count, [&](std::int64_t column, std::int64_t here) {
      const std::int64_t at = view.offset(column, kv_head, head_dim);
      const auto* k = static_cast<const std::uint16_t*>(view.k) + at;
      const auto* v = static_cast<const std::uint16_t*>(view.v) + at;
      for (std::int64_t i = 0; i < here; ++i, ++columns_) {
        k_[columns_] = k + i * head_dim;
        v_[columns_] = v + i * head_dim;
      }
    });
  }

  /// Valid until the next change.
  HalfTile tile() const { return {k_.data(), v_.data(), columns_}; }

 private:
  int columns_ = 0;
  std::array<const std::uint16_t*, kTileColumns> k_;
  std::array<const std::uint16_t*, kTileColumns> v_;
};

}  // namespace longspan

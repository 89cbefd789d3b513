// The columns of one key tile as pointers into pages: what makes paging invisible to the kernels.
// Keys that are not float32 are widened into memory of their own first, once for all rows of a
// tile.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/compiled_kernels.h"
#include "attention/segment.h"

namespace longspan {

/// Columns [column, column + count) of a view: a tile is a few of these.
struct KeyPiece {
  const KvView* view;
  std::int64_t column;
  int count;
};

/// Calls visit(view, column, count) for each page that the piece has columns of: `view` begins at
/// the first of them, `column` of the piece's view, for one head.
template <typename Visit>
void for_each_page(const KeyPiece& piece, int kv_head, int head_dim, const Visit& visit) {
  const KvView& view = *piece.view;
  const std::int64_t end = piece.column + piece.count;
  for (std::int64_t column = piece.column; column < end;) {
    const std::int64_t page_end = (column / view.page_tokens + 1) * view.page_tokens;
    const int count = static_cast<int>(std::min(end, page_end) - column);
    visit(view.shifted(view.offset(column, kv_head, head_dim)), column, count);
    column += count;
  }
}

class KeyColumns {
 public:
  KeyColumns(const CompiledKernels& kernels, int head_dim);

  void clear() { columns_ = 0; }
  /// Columns [begin, begin + count) of one head; at most kTileColumns in all.
  void append(const KvView& view, int kv_head, std::int64_t begin, int count);
  /// Not empty. Valid until the next change.
  KeyTile tile();

 private:
  /// `count` columns of head_dim values of keys or values, as they are or widened.
  struct Columns {
    const void* from;
    KvType type;
    const float* scale;  // of int8
    int count;
  };
  /// One pointer each.
  void point(const Columns& columns, float* widened, const float** to) const;

  const CompiledKernels* kernels_;
  int head_dim_;
  int columns_ = 0;
  AlignedFloats widened_k_, widened_v_;  // (kTileColumns, head_dim)
  std::array<const float*, kTileColumns> k_;
  std::array<const float*, kTileColumns> v_;
};

}  // namespace longspan

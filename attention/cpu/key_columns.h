// The columns of one key tile as pointers into pages: what makes paging invisible to the kernels.
#pragma once

#include <array>
#include <cstdint>

#include "attention/cpu/compiled_kernels.h"
#include "attention/segment.h"

namespace longspan {

/// Columns [column, column + count) of a view: a tile is a few of these.
struct KeyPiece {
  const KvView* view;
  std::int64_t column;
  int count;
};

class KeyColumns {
 public:
  void clear() { columns_ = 0; }
  /// Columns [begin, begin + count) of one head; at most kTileColumns in all.
  void append(const KvView& view, int kv_head, int head_dim, std::int64_t begin, int count);
  /// Not empty. Valid until the next change.
  KeyTile tile();

 private:
  int columns_ = 0;
  std::array<const float*, kTileColumns> k_;
  std::array<const float*, kTileColumns> v_;
};

}  // namespace longspan

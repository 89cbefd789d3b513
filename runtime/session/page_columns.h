// Columns of pages from one place to another: between the pool of a rank, wherever its memory is,
// and a page as a session's file holds it, whose heads and columns may be cut otherwise.
#pragma once

#include <cstdint>

#include "comm/device.h"
#include "runtime/memory/kv_page_pool.h"

namespace longspan {

/// One page, all its layers: (layers, 2, kv_heads, page_tokens, head_dim), and scales behind the
/// values of a layer where the type has them.
struct PageMemory {
  std::byte* at = nullptr;  // its first layer
  std::size_t layer_stride = 0;
  KvPageShape shape;
};

/// Page `slot` of a pool.
PageMemory page_of(const KvPagePool& pool, PageSlot slot);
/// A page whose layers follow one another from `at` on.
PageMemory page_at(std::byte* at, const KvPageShape& shape);

/// Which heads and columns, there and here.
struct PageCut {
  int heads = 0;
  int from_head = 0;
  int to_head = 0;
  std::int64_t columns = 0;
  std::int64_t from_column = 0;
  std::int64_t to_column = 0;
};

/// Enqueues the copy of a cut of all layers. Types must be equal; pages with scales are copied
/// whole: cuts of all columns between pages of one size.
void copy_columns(Device& device, Stream& stream, const PageMemory& to, const PageMemory& from,
                  const PageCut& cut);

}  // namespace longspan

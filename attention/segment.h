// What an attention kernel consumes: query rows, and segments of keys they may see.
//
// A kernel never hears of layouts, ranks or requests. A segment's columns are keys in order of
// position; row q sees a prefix of them, all of them when nothing is masked.
#pragma once

#include <cstdint>
#include <span>

#include "attention/shard_layout.h"

namespace longspan {

/// Shapes of one model's attention.
struct HeadShape {
  int query_heads;
  int kv_heads;  // divides query_heads; query head h reads kv head h div (query_heads/kv_heads)
  int head_dim;

  constexpr int group() const { return query_heads / kv_heads; }
  /// Values of K and V of one token.
  constexpr std::int64_t kv_values() const { return 2LL * kv_heads * head_dim; }
};

/// Keys and values in pages of `page_tokens` columns. Column c of kv head h starts at
///   k + slot(c div page_tokens) * page_stride + h * head_stride + (c mod page_tokens) * head_dim
/// and likewise from v; slot(p) = table[p], or p when there is no table. Contiguous keys are one
/// page: no table, page_tokens >= len. Memory behind the last column may hold anything, NaN too.
///
/// k and v are the device's memory. The table is the host's, whatever the device is, with an entry
/// for each page that holds a column; kernels that cannot read it there take a copy along.
struct KvView {
  float* k = nullptr;
  float* v = nullptr;
  std::int64_t head_stride = 0;  // values
  std::int64_t page_stride = 0;  // values
  const std::int32_t* table = nullptr;
  std::int64_t page_tokens = 1;

  constexpr std::int64_t offset(std::int64_t column, int head, int head_dim) const {
    const std::int64_t page = column / page_tokens;
    const std::int64_t slot = table ? table[page] : page;
    return slot * page_stride + head * head_stride + (column % page_tokens) * head_dim;
  }
};

struct KvSegment {
  KvView view;
  std::int64_t len = 0;   // columns
  bool causal = false;    // false: every row sees every column
  PositionRun positions;  // of the columns; used when causal

  bool is_well_formed() const { return len >= 0 && view.page_tokens >= 1; }
  constexpr std::int64_t visible(std::int64_t query_position) const {
    return causal ? positions.visible(query_position) : len;
  }
};

/// Query rows after RoPE.
struct QueryRows {
  const float* q = nullptr;                 // (rows, query_heads, head_dim)
  std::span<const std::int64_t> positions;  // one per row
};

}  // namespace longspan

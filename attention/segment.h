// What an attention kernel consumes: query rows, and segments of keys they may see.
//
// A kernel never hears of layouts, ranks or requests. A segment's columns are keys in order of
// position, of which a row sees some neighbours: those that the segment's mask shows it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/key_choice.h"
#include "attention/kv_type.h"
#include "attention/mask.h"
#include "attention/shard_layout.h"

namespace longspan {

/// Consecutive query heads.
struct HeadRange {
  int first;
  int count;
};

/// Shapes of attention: of a whole model, or of a slice of its query heads and the KV heads that
/// these read. Query head h reads kv head (h + lead) div group().
struct HeadShape {
  int query_heads;
  int kv_heads;  // of a whole model it divides query_heads
  int head_dim;
  int ratio = 0;  // query heads of the model per KV head; 0: query_heads / kv_heads
  int lead = 0;   // readers of the first KV head that lie before the slice

  constexpr int group() const { return ratio > 0 ? ratio : query_heads / kv_heads; }
  /// The query heads that read `kv_head`.
  constexpr HeadRange readers(int kv_head) const {
    const int first = std::max(0, kv_head * group() - lead);
    const int end = std::min(query_heads, (kv_head + 1) * group() - lead);
    return {first, end - first};
  }
  /// Of any KV head, at most.
  constexpr int most_readers() const { return std::min(group(), query_heads); }
  /// Values of K and V of one token.
  constexpr std::int64_t kv_values() const { return 2LL * kv_heads * head_dim; }
};

/// Keys and values of one type in pages of `page_tokens` columns. Column c of kv head h starts at
///   k + slot(c div page_tokens) * page_stride + h * head_stride + (c mod page_tokens) * head_dim
/// and likewise from v; slot(p) = table[p], or p when there is no table. Contiguous keys are one
/// page: no table, page_tokens >= len. Memory behind the last column may hold anything, NaN too.
///
/// int8 keys have a float scale for each page and KV head, and so have int8 values: those of KV
/// head 0 in slot 0 are at k_scales and v_scales, the next head's lie behind, the next slot's
/// page_stride bytes further on.
///
/// All these are the device's memory. The table is the host's, whatever the device is, with an
/// entry for each page that holds a column; kernels that cannot read it there take a copy along.
struct KvView {
  void* k = nullptr;  // values of `type`
  void* v = nullptr;
  std::int64_t head_stride = 0;  // values
  std::int64_t page_stride = 0;  // values
  const std::int32_t* table = nullptr;
  std::int64_t page_tokens = 1;
  KvType type = KvType::kFloat32;
  std::byte* k_scales = nullptr;
  std::byte* v_scales = nullptr;

  /// Of a float32 view.
  float* keys() const { return static_cast<float*>(k); }
  float* values() const { return static_cast<float*>(v); }
  /// Of an int8 view: the scales of keys and of values of one head in the page of `column`.
  float* k_scale(std::int64_t column, int head) const { return scale(k_scales, column, head); }
  float* v_scale(std::int64_t column, int head) const { return scale(v_scales, column, head); }

  /// Of the page that holds `column`.
  constexpr std::int64_t slot(std::int64_t column) const {
    const std::int64_t page = column / page_tokens;
    return table ? table[page] : page;
  }
  constexpr std::int64_t offset(std::int64_t column, int head, int head_dim) const {
    return slot(column) * page_stride + head * head_stride + (column % page_tokens) * head_dim;
  }
  /// The same keys, counted from `column` on. Inside a page that is only good for what is left of
  /// this page: pages must be whole for columns to be found by division.
  KvView from(std::int64_t column, int head_dim) const {
    const std::int64_t page = column / page_tokens;
    KvView rest = shifted(column % page_tokens * head_dim);
    if (table) {
      rest.table += page;
      return rest;
    }
    return rest.shifted(page * page_stride).scales_shifted(page * page_stride);
  }
  /// The same, from KV head `head` on.
  KvView heads_from(int head) const {
    return shifted(head * head_stride)
        .scales_shifted(head * static_cast<std::int64_t>(sizeof(float)));
  }
  /// The same, `values` further on in k and v alike.
  KvView shifted(std::int64_t values) const {
    KvView out = *this;
    out.k = static_cast<std::byte*>(k) + values * value_bytes(type);
    out.v = static_cast<std::byte*>(v) + values * value_bytes(type);
    return out;
  }

 private:
  KvView scales_shifted(std::int64_t bytes) const {
    KvView out = *this;
    if (has_scales(type)) {
      out.k_scales += bytes;
      out.v_scales += bytes;
    }
    return out;
  }
  float* scale(std::byte* first, std::int64_t column, int head) const {
    return reinterpret_cast<float*>(first + slot(column) * page_stride) + head;
  }
};

struct KvSegment {
  KvView view;
  std::int64_t len = 0;      // columns
  Mask mask = Mask::full();  // of one part; full: every row sees every column
  PositionRun positions{};   // of the columns; not used under a full mask
  KeyChoice choice{};        // if the mask needs one: of the columns it shows, those that count

  bool is_well_formed() const {
    return len >= 0 && view.page_tokens >= 1 && mask.is_one_part() &&
           (!mask.needs_choice() || choice.chosen != nullptr);
  }
  /// As decode wants it, where rows have no position: seen by every row.
  bool is_seen_whole() const { return is_well_formed() && mask.is_full(); }
  /// The columns that a row sees, whatever is chosen; nothing else of the segment is used for it.
  constexpr Interval seen(std::int64_t query_position) const {
    return mask.is_full() ? Interval{0, len} : columns_at(mask.seen(query_position));
  }
  /// No row from `first` to `last` sees a column outside of these.
  constexpr Interval seen(std::int64_t first, std::int64_t last) const {
    return mask.is_full() ? Interval{0, len} : columns_at(mask.seen(first, last));
  }

 private:
  constexpr Interval columns_at(Interval seen) const {
    const Interval of_run = columns(positions, seen);
    return {std::min(of_run.begin, len), std::min(of_run.end, len)};
  }
};

/// Query rows after RoPE.
struct QueryRows {
  const float* q = nullptr;                 // (rows, query_heads, head_dim)
  std::span<const std::int64_t> positions;  // one per row
};

}  // namespace longspan

// The work of a decode launch in splits of its rows' columns: the host plans with it, the kernel
// walks by it, tests count with it.
//
//   a row's columns   | segment     | segment | segment                |     end to end
//   splits            | split | split | split | split | split | split |     as long as each other
//   a split           | tile | tile | ... one warp takes it, for all query heads of a KV head
//
// Warps take the first splits of all rows, then the second: rows that begin with the same pages, as
// answers to one prompt do, then read them at about the same time, and memory is read once.
//
// How long a split is follows from the row's own number of columns, so that neither its neighbours
// in a batch, nor the GPU, nor how its columns are stored changes a row's bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "attention/partial.h"

namespace longspan {

/// Query heads of a KV head that share what is read of it: more do not fit.
inline constexpr int kMostSplitReaders = 8;
/// Of a row.
inline constexpr int kMostSplits = 128;

/// Columns of each of a row's splits but the last: powers of two. Short rows are cut finely, since
/// only many warps have enough on its way; then a split lasts long enough for its partial to cost
/// little; and long rows have as many splits as 8 KV heads need to fill a hundred multiprocessors.
constexpr std::int32_t split_columns(std::int32_t columns) {
  const auto at_least = [](std::int32_t total, std::int32_t parts) {
    const auto size = static_cast<std::uint32_t>(total / parts + (total % parts != 0));
    return static_cast<std::int32_t>(std::bit_ceil(size));
  };
  return std::max(std::clamp(at_least(columns, 32), 64, 256), at_least(columns, kMostSplits));
}

constexpr std::int32_t count_splits(std::int32_t columns) {
  const std::int32_t size = split_columns(columns);
  return columns / size + (columns % size != 0);
}

/// A segment: columns [begin, end) of its row. Values are bfloat16, strides count values.
struct SplitKeys {
  const void* k = nullptr;  // of KV head 0
  const void* v = nullptr;
  const std::int32_t* table = nullptr;  // on the GPU; null: page p is in slot p
  std::int64_t head_stride = 0;
  std::int64_t page_stride = 0;
  std::int32_t page_tokens = 1;
  std::int32_t begin = 0;
  std::int32_t end = 0;
};

struct DecodeSplit {
  std::int32_t part = 0;  // whose memory its partial goes to: its row's lie side by side
  std::int32_t row = 0;
  std::int32_t first_column = 0;  // of the row
  std::int32_t columns = 0;
  std::int32_t keys = 0;  // the SplitKeys that hold the first column; those behind follow
};

struct SplitRow {
  const float* q = nullptr;  // (query_heads, head_dim)
  Partial out;               // (query_heads)
  std::int32_t first_part = 0;
  std::int32_t splits = 0;
};

struct SplitCounts {
  std::int32_t splits = 0;
  std::int32_t rows = 0;
};

}  // namespace longspan

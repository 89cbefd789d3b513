// Rows of one token over long keys, in float: FlashDecoding's split of the keys, with fixed
// borders.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/partial.h"
#include "attention/segment.h"

namespace longspan {

/// A row's columns are those of its segments, end to end; split s is [512 s, 512 (s + 1)) of them,
/// whoever else is in the batch and however they are stored.
inline constexpr std::int64_t kDecodeSplitColumns = 512;

constexpr std::int64_t decode_splits(std::int64_t columns) {
  return (columns + kDecodeSplitColumns - 1) / kDecodeSplitColumns;
}

/// Everything lies on the GPU.
struct ReferenceDecodeRow {
  const float* q;             // (query_heads, head_dim)
  const KvSegment* segments;  // of `columns` columns in all
  std::int64_t columns;
  KvType type;     // of all segments
  Partial splits;  // (decode_splits(columns), query_heads): partials back to back
  Partial out;     // (query_heads)
};

struct ReferenceDecode {
  HeadShape shape;
  float scale;
  const ReferenceDecodeRow* rows;  // (row_count)
  std::int64_t row_count;
  std::int64_t most_splits;       // of any row
  unsigned long long* bad_total;  // goes up by the splits that count as empty for their lse
};

void launch_reference_decode(const ReferenceDecode& work, cudaStream_t stream);

}  // namespace longspan

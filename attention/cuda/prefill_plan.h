// A call of attend() as tiles of the matrix units: the host's half of prefill_tiles.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/prefill_tiles.h"
#include "attention/segment.h"

namespace longspan {

/// Memory that segments lie in, as the copy engine sees it: two tensors, of K and of V,
///   (slots, kv_heads, page_columns, head_dim)      strides in values
struct PlannedView {
  const void* k;
  const void* v;
  std::int64_t head_stride;
  std::int64_t page_stride;
  std::int64_t page_columns;  // that may be read of a page
  std::int32_t box_tokens;
  std::int64_t slots;

  bool operator==(const PlannedView&) const = default;
};

struct PrefillPlan {
  std::vector<QueryTile> query_tiles;  // that see something, longest first
  std::vector<TileSegment> segments;   // of all runs; without tables
  std::vector<std::int32_t> sources;   // index of each one's segment in the call
  std::vector<PlannedView> views;

  /// Of all tiles.
  std::int64_t rows() const {
    std::int64_t total = 0;
    for (const QueryTile& tile : query_tiles) total += tile.rows;
    return total;
  }
};

/// Whether the copy engine and bounds can say what rows see of it: bfloat16 pages of a power of two
/// from 8 tokens on, or one page of any size; addresses and strides in multiples of 16 bytes; a
/// full, causal or windowed mask.
bool fits_tiles(const KvSegment& segment);

/// The leading segments that need `most_views` views at most; one at least.
std::size_t segments_within(std::span<const KvSegment> segments, std::size_t most_views);

/// `segments` fit tiles, and have columns.
PrefillPlan plan_prefill(std::span<const std::int64_t> positions,
                         std::span<const KvSegment> segments);

/// Tiles of `heads` query heads in sections whose keys an L2 holds; `group` of them read a KV head.
TileOrder order_tiles(const PrefillPlan& plan, const HeadShape& shape);

}  // namespace longspan

#include "attention/cuda/prefill_plan.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "attention/cuda/alignment.h"
#include "attention/cuda/mask_lowering.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::int64_t kLeastPage = 8;  // rows of the swizzle
constexpr std::int64_t kMostInt = std::numeric_limits<std::int32_t>::max();
/// Of L2, for keys: an H100 has 50 MB, and other tiles' queries and states pass through.
constexpr std::int64_t kSectionBytes = std::int64_t{32} << 20;

/// All columns in one page, wherever in it they begin.
bool is_one_page(const KvSegment& segment) { return segment.len <= segment.view.page_tokens; }

/// Of a dimension of the copy engine's tensors.
bool is_stride(std::int64_t values) { return values > 0 && is_aligned_stride(values); }

std::int64_t slots(const KvSegment& segment) {
  const std::int64_t pages = (segment.len - 1) / segment.view.page_tokens + 1;
  if (!segment.view.table) return pages;
  return *std::max_element(segment.view.table, segment.view.table + pages) + std::int64_t{1};
}

PlannedView view_of(const KvSegment& segment) {
  const KvView& view = segment.view;
  const bool one_page = is_one_page(segment);
  // Of a part of a page no more may be read than its columns: it may end where memory does.
  const std::int64_t columns = one_page ? segment.len : view.page_tokens;
  return {view.k,
          view.v,
          view.head_stride,
          one_page && !view.table ? view.head_stride : view.page_stride,  // of no use there
          columns,
          one_page ? kBlockColumns
                   : static_cast<std::int32_t>(std::min<std::int64_t>(columns, kBlockColumns)),
          slots(segment)};
}

/// The index of `view` among `views`, to which it is added if need be; slots do not tell apart.
std::int32_t find_view(PlannedView view, std::vector<PlannedView>& views) {
  const auto found = std::ranges::find_if(views, [&](PlannedView other) {
    other.slots = view.slots;
    return other == view;
  });
  if (found != views.end()) found->slots = std::max(found->slots, view.slots);
  const auto index = static_cast<std::int32_t>(found - views.begin());
  if (found == views.end()) views.push_back(view);
  return index;
}

TileSegment tile_segment(const KvSegment& segment, const SeenColumns& seen, std::int32_t view,
                         const PlannedView& planned) {
  const auto log2 = [](std::int64_t value) -> std::int32_t {
    return std::countr_zero(static_cast<std::uint64_t>(value));
  };
  return {
      .begin = seen.begin,
      .end = seen.end,
      .len = static_cast<std::int32_t>(segment.len),
      .page_shift = is_one_page(segment) ? TileSegment::kOnePage : log2(segment.view.page_tokens),
      .box_shift = log2(planned.box_tokens),
      .view = view};
}

/// The run's segments of which some row sees something, then its row tiles.
void add_run(const RowRun& run, std::span<const KvSegment> segments,
             std::span<const std::int32_t> views, PrefillPlan& plan) {
  const auto first_segment = static_cast<std::int32_t>(plan.segments.size());
  const auto rows = static_cast<std::int32_t>(run.positions.count);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const SeenColumns seen = *lowered(run.positions, segments[i]);
    const TileSegment segment = tile_segment(segments[i], seen, views[i], plan.views[views[i]]);
    const BlockRange range = blocks_seen(segment, 0, rows - 1);
    if (range.begin >= range.end) continue;
    plan.segments.push_back(segment);
    plan.sources.push_back(static_cast<std::int32_t>(i));
  }
  const auto count = static_cast<std::int32_t>(plan.segments.size()) - first_segment;
  for (std::int32_t row = 0; row < rows; row += kTileRows) {
    plan.query_tiles.push_back({.row = run.first_row + row,
                                .rows = std::min(rows - row, kTileRows),
                                .in_run = row,
                                .segment = first_segment,
                                .segments = count});
  }
}

std::int64_t blocks(const QueryTile& tile, const std::vector<TileSegment>& segments) {
  std::int64_t total = 0;
  for (std::int32_t i = 0; i < tile.segments; ++i) {
    const BlockRange range =
        blocks_seen(segments[tile.segment + i], tile.in_run, tile.in_run + tile.rows - 1);
    total += range.end - range.begin;
  }
  return total;
}

/// Those without work go: a kernel's tile has a block.
void longest_first(PrefillPlan& plan) {
  std::vector<std::pair<std::int64_t, QueryTile>> sized;
  for (const QueryTile& tile : plan.query_tiles) {
    const std::int64_t size = blocks(tile, plan.segments);
    if (size > 0) sized.emplace_back(size, tile);
  }
  std::ranges::stable_sort(sized, std::ranges::greater(),
                           [](const auto& pair) { return pair.first; });
  plan.query_tiles.clear();
  for (const auto& [size, tile] : sized) plan.query_tiles.push_back(tile);
}

}  // namespace

bool fits_tiles(const KvSegment& segment) {
  const KvView& view = segment.view;
  const std::int64_t page = view.page_tokens;
  const bool paged = page >= kLeastPage && std::has_single_bit(static_cast<std::uint64_t>(page));
  return view.type == KvType::kBFloat16 && (paged || is_one_page(segment)) &&
         segment.len < kMostInt - kBlockColumns && is_aligned(view.k) && is_aligned(view.v) &&
         is_stride(view.head_stride) &&
         (is_stride(view.page_stride) || (is_one_page(segment) && !view.table)) &&
         has_bounds(segment.mask);
}

std::size_t segments_within(std::span<const KvSegment> segments, std::size_t most_views) {
  std::vector<PlannedView> views;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    find_view(view_of(segments[i]), views);
    if (views.size() > most_views) return i;
  }
  return segments.size();
}

PrefillPlan plan_prefill(std::span<const std::int64_t> positions,
                         std::span<const KvSegment> segments) {
  expects(std::ssize(positions) < kMostInt - kTileRows, "rows of a call are counted in 32 bits");
  PrefillPlan plan;
  std::vector<std::int32_t> views;
  for (const KvSegment& segment : segments) {
    views.push_back(find_view(view_of(segment), plan.views));
  }
  for (const RowRun& run : runs_of(positions)) {
    for (const RowRun& part : cut_to_fit(run, segments)) add_run(part, segments, views, plan);
  }
  longest_first(plan);
  return plan;
}

TileOrder order_tiles(const PrefillPlan& plan, const HeadShape& shape) {
  std::int64_t columns = 1;
  for (const QueryTile& tile : plan.query_tiles) {
    std::int64_t seen = 0;
    for (std::int32_t i = 0; i < tile.segments; ++i) seen += plan.segments[tile.segment + i].len;
    columns = std::max(columns, seen);
  }
  const std::int64_t head_bytes = columns * shape.head_dim * 2 * value_bytes(KvType::kBFloat16);
  const std::int64_t kv_heads =
      std::clamp<std::int64_t>(kSectionBytes / head_bytes, 1, shape.kv_heads);
  const std::int64_t tiles = std::ssize(plan.query_tiles) * shape.query_heads;
  expects(tiles < kMostInt, "tiles of a call are counted in 32 bits");
  return {.query_tiles = static_cast<std::int32_t>(plan.query_tiles.size()),
          .heads = shape.query_heads,
          .section = static_cast<std::int32_t>(
              std::min<std::int64_t>(kv_heads * shape.group(), shape.query_heads))};
}

}  // namespace longspan

#include "attention/cuda/decode_plan.h"

#include <algorithm>
#include <limits>
#include <ranges>

#include "attention/cuda/alignment.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr std::int64_t kMostInt = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostColumns = kMostInt - 64;  // the kernel looks up to a tile further

bool fits_splits(const KvSegment& segment) {
  const KvView& view = segment.view;
  return segment.len == 0 ||
         (view.type == KvType::kBFloat16 && is_aligned(view.k) && is_aligned(view.v) &&
          is_aligned_stride(view.head_stride) && is_aligned_stride(view.page_stride));
}

/// The row's segments with columns go to `keys`.
void add_keys(const DecodeRow& row, std::vector<SplitKeys>& keys) {
  std::int32_t begin = 0;
  for (const KvSegment& segment : row.segments) {
    if (segment.len == 0) continue;
    const KvView& view = segment.view;
    const auto end = begin + static_cast<std::int32_t>(segment.len);
    keys.push_back({.k = view.k,
                    .v = view.v,
                    .table = view.table,
                    .head_stride = view.head_stride,
                    .page_stride = view.page_stride,
                    .page_tokens = static_cast<std::int32_t>(std::min(view.page_tokens, kMostInt)),
                    .begin = begin,
                    .end = end});
    begin = end;
  }
}

/// A row while its splits are planned.
struct Cursor {
  std::int32_t row;
  std::int32_t total, size;  // columns: of the row, of a split
  std::int32_t key;          // whose columns come next
};

void add_split(Cursor& at, std::int32_t number, DecodePlan& plan) {
  const SplitRow& row = plan.rows[at.row];
  if (number >= row.splits) return;
  const std::int32_t first = number * at.size;
  while (plan.keys[at.key].end <= first) ++at.key;
  plan.splits.push_back({.part = row.first_part + number,
                         .row = at.row,
                         .first_column = first,
                         .columns = std::min(at.size, at.total - first),
                         .keys = at.key});
}

}  // namespace

bool fits_splits(const DecodeRow& row) {
  return row.columns() <= kMostColumns &&
         std::ranges::all_of(row.segments,
                             [](const KvSegment& segment) { return fits_splits(segment); });
}

DecodePlan plan_decode(std::span<const DecodeRow> rows) {
  expects(std::ssize(rows) * kMostSplits <= kMostInt, "splits of a call are counted in 32 bits");
  DecodePlan plan;
  std::vector<Cursor> cursors;
  std::int32_t parts = 0;
  for (const DecodeRow& row : rows) {
    const auto total = static_cast<std::int32_t>(row.columns());
    const auto key = static_cast<std::int32_t>(plan.keys.size());
    cursors.push_back(
        {static_cast<std::int32_t>(plan.rows.size()), total, split_columns(total), key});
    plan.rows.push_back(
        {.q = row.q, .out = row.out, .first_part = parts, .splits = count_splits(total)});
    parts += plan.rows.back().splits;
    add_keys(row, plan.keys);
  }
  // Warps take splits in turn: those that begin a long one last would end last.
  std::ranges::stable_sort(cursors, std::ranges::greater(), &Cursor::size);
  plan.splits.reserve(parts);
  for (auto alike = cursors.begin(); alike != cursors.end();) {
    const auto end = std::ranges::find_if(
        alike, cursors.end(), [&](const Cursor& other) { return other.size != alike->size; });
    for (std::int32_t number = 0; number < kMostSplits; ++number) {
      for (Cursor& row : std::ranges::subrange(alike, end)) add_split(row, number, plan);
    }
    alike = end;
  }
  return plan;
}

}  // namespace longspan

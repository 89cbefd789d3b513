#include "attention/cuda/decode_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

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

/// The splits of a row of `total` columns whose keys begin with `key`.
void add_splits(std::int32_t row, std::int32_t total, std::int32_t key, DecodePlan& plan) {
  const std::int32_t size = split_columns(total), count = count_splits(total);
  plan.rows[row].first_split = static_cast<std::int32_t>(plan.splits.size());
  plan.rows[row].splits = count;
  for (std::int32_t i = 0; i < count; ++i) {
    const std::int32_t first = i * size;
    while (plan.keys[key].end <= first) ++key;
    plan.splits.push_back({row, first, std::min(size, total - first), key});
  }
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
  std::vector<std::int32_t> totals, first_keys;
  for (const DecodeRow& row : rows) {
    plan.rows.push_back({.q = row.q, .out = row.out});
    totals.push_back(static_cast<std::int32_t>(row.columns()));
    first_keys.push_back(static_cast<std::int32_t>(plan.keys.size()));
    add_keys(row, plan.keys);
  }
  // Warps take splits in turn: those that begin a long one last would end last.
  std::vector<std::int32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](std::int32_t row) { return split_columns(totals[row]); });
  for (const std::int32_t row : order) add_splits(row, totals[row], first_keys[row], plan);
  return plan;
}

}  // namespace longspan

#include "attention/cpu/decode.h"

#include <algorithm>
#include <limits>
#include <span>

#include "attention/cpu/merge.h"
#include "attention/cpu/parallel.h"

namespace longspan {
namespace {

struct Split {
  const DecodeRow* row;
  std::int64_t index;
  Partial out;  // of the row: all heads
};

std::int64_t columns(const DecodeRow& row) {
  std::int64_t total = 0;
  for (const KvSegment& segment : row.segments) total += segment.len;
  return total;
}

/// Columns [begin, end) of the row's segments, end to end, in tiles: visit(KeyTile).
template <typename Visit>
void for_each_tile(const DecodeRow& row, int kv_head, int head_dim, Interval range,
                   KeyColumns& keys, const Visit& visit) {
  keys.clear();
  std::int64_t segment_begin = 0;
  for (const KvSegment& segment : row.segments) {
    std::int64_t column = std::max(range.begin - segment_begin, std::int64_t{0});
    const std::int64_t end = std::min(range.end - segment_begin, segment.len);
    while (column < end) {
      const int count = static_cast<int>(std::min<std::int64_t>(keys.room(), end - column));
      keys.append(segment.view, kv_head, head_dim, column, count);
      column += count;
      if (keys.room() == 0) {
        visit(keys.tile());
        keys.clear();
      }
    }
    segment_begin += segment.len;
  }
  if (!keys.empty()) visit(keys.tile());
}

/// One split's partial for the query heads of one KV head.
void run_split(const Decode& decode, const CompiledKernels& kernels, const Split& split,
               int kv_head, ThreadWorkspace& workspace) {
  const int heads = decode.shape.group(), head_dim = decode.shape.head_dim;
  const std::int64_t first = static_cast<std::int64_t>(kv_head) * heads;
  const float* q = split.row->q + first * head_dim;
  float* acc = split.out.o + first * head_dim;  // becomes O in place
  std::transform(q, q + heads * head_dim, workspace.q.begin(),
                 [&](float x) { return x * decode.scale; });
  std::fill_n(acc, heads * head_dim, 0.0f);
  std::ranges::fill(workspace.m, -std::numeric_limits<float>::infinity());
  std::ranges::fill(workspace.l, 0.0f);

  const HeadBlock block{heads, head_dim,           workspace.q.data(),
                        acc,   workspace.m.data(), workspace.l.data()};
  const Interval range{split.index * kSplitColumns, (split.index + 1) * kSplitColumns};
  for_each_tile(*split.row, kv_head, head_dim, range, workspace.keys,
                [&](const KeyTile& keys) { kernels.attend_heads(block, keys); });
  for (int head = 0; head < heads; ++head) {
    normalise({acc, block.m, block.l}, {acc, split.out.lse + first}, head, head_dim);
  }
}

/// The splits of all rows, in order, each with the memory its partial goes to: the row's own when
/// it has one split only.
std::vector<Split> cut(const Decode& decode, Workspace& workspace) {
  const std::int64_t heads = decode.shape.query_heads;
  const std::int64_t values = heads * (decode.shape.head_dim + 1);
  std::int64_t stored = 0;
  std::vector<Split> splits;
  for (const DecodeRow& row : decode.rows) {
    const std::int64_t count = (columns(row) + kSplitColumns - 1) / kSplitColumns;
    for (std::int64_t index = 0; index < count; ++index) splits.push_back({&row, index, row.out});
    if (count > 1) stored += count;
  }
  if (std::ssize(workspace.split_values) < stored * values) {
    workspace.split_values.resize(stored * values);
  }
  float* next = workspace.split_values.data();
  for (Split& split : splits) {
    if (columns(*split.row) <= kSplitColumns) continue;
    split.out = {next, next + heads * decode.shape.head_dim};
    next += values;
  }
  return splits;
}

void merge_rows(const Decode& decode, const std::vector<Split>& splits, Workspace& workspace,
                int threads) {
  workspace.splits.clear();
  std::vector<std::int64_t> first_split{0};
  for (const DecodeRow& row : decode.rows) {
    while (std::ssize(workspace.splits) < std::ssize(splits) &&
           splits[workspace.splits.size()].row == &row) {
      workspace.splits.push_back(splits[workspace.splits.size()].out);
    }
    first_split.push_back(std::ssize(workspace.splits));
  }
  const int heads = decode.shape.query_heads;
  parallel_for(std::ssize(decode.rows) * heads, threads, [&](std::int64_t task, int) {
    const std::int64_t row = task / heads;
    const auto sources = std::span(workspace.splits)
                             .subspan(first_split[row], first_split[row + 1] - first_split[row]);
    merge_at(sources, decode.rows[row].out, task % heads, decode.shape.head_dim);
  });
}

}  // namespace

void run_decode(const Decode& decode, const CompiledKernels& kernels, Workspace& workspace,
                int threads) {
  const std::vector<Split> splits = cut(decode, workspace);
  const int kv_heads = decode.shape.kv_heads;
  parallel_for(std::ssize(splits) * kv_heads, threads, [&](std::int64_t task, int thread) {
    run_split(decode, kernels, splits[task / kv_heads], static_cast<int>(task % kv_heads),
              *workspace.threads[thread]);
  });
  merge_rows(decode, splits, workspace, threads);
}

}  // namespace longspan

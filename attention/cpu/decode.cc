#include "attention/cpu/decode.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "attention/cpu/merge.h"
#include "attention/cpu/parallel.h"

namespace longspan {
namespace {

struct Split {
  const DecodeRow* row;
  std::int64_t index;
  Partial out;  // of the row: all heads
};

/// Columns [begin, end) of the row's segments, end to end, in tiles: visit(pieces).
template <typename Visit>
void for_each_tile(const DecodeRow& row, Interval range, std::vector<KeyPiece>& tile,
                   const Visit& visit) {
  tile.clear();
  int room = kTileColumns;
  std::int64_t segment_begin = 0;
  for (const KvSegment& segment : row.segments) {
    std::int64_t column = std::max(range.begin - segment_begin, std::int64_t{0});
    const std::int64_t end = std::min(range.end - segment_begin, segment.len);
    while (column < end) {
      const int count = static_cast<int>(std::min<std::int64_t>(room, end - column));
      tile.push_back({&segment.view, column, count});
      column += count;
      room -= count;
      if (room > 0) continue;
      visit(tile);
      tile.clear();
      room = kTileColumns;
    }
    segment_begin += segment.len;
  }
  if (!tile.empty()) visit(tile);
}

/// One split's partial for the query heads of some KV heads. Heads take turns within each tile:
/// pages hold their heads side by side, so memory is read in long runs.
class SplitPass {
 public:
  SplitPass(const Decode& decode, const Split& split, ThreadWorkspace& workspace)
      : decode_(decode), split_(split), workspace_(workspace) {}

  void run(int first_head, int end_head) {
    for (int head = first_head; head < end_head; ++head) start(head);
    const Interval range{split_.index * kSplitColumns, (split_.index + 1) * kSplitColumns};
    for_each_tile(*split_.row, range, workspace_.tile, [&](const std::vector<KeyPiece>& tile) {
      for (int head = first_head; head < end_head; ++head) push(head, tile);
    });
    if (waiting_head_ >= 0) attend_waiting(waiting());
    for (int head = first_head; head < end_head; ++head) finish(head);
  }

 private:
  /// The query heads of KV head `head`; acc becomes O in place.
  HeadBlock block(int head) {
    const auto [first, heads] = decode_.shape.readers(head);
    const int head_dim = decode_.shape.head_dim;
    return {heads,
            head_dim,
            workspace_.q.data() + first * head_dim,
            split_.out.o + first * head_dim,
            workspace_.m.data() + first,
            workspace_.l.data() + first};
  }

  void start(int head) {
    const HeadBlock block = this->block(head);
    const int values = block.heads * block.head_dim;
    const int first = decode_.shape.readers(head).first;
    const float* q = split_.row->q + first * block.head_dim;
    float* scaled = workspace_.q.data() + first * block.head_dim;
    std::transform(q, q + values, scaled, [&](float x) { return x * decode_.scale; });
    std::fill_n(block.acc, values, 0.0f);
    std::fill_n(block.m, block.heads, -std::numeric_limits<float>::infinity());
    std::fill_n(block.l, block.heads, 0.0f);
  }

  /// A tile of one head is attended when the next is known, which is fetched meanwhile.
  void push(int head, const std::vector<KeyPiece>& tile) {
    HeadColumns& arriving = workspace_.decode_keys[turn_];
    arriving.read(tile, head);
    if (waiting_head_ >= 0) attend_waiting(arriving);
    waiting_head_ = head;
    turn_ = 1 - turn_;
  }

  HeadColumns& waiting() { return workspace_.decode_keys[1 - turn_]; }

  void attend_waiting(HeadColumns& next) { waiting().attend(block(waiting_head_), next); }

  void finish(int head) {
    const HeadBlock block = this->block(head);
    float* lse = split_.out.lse + decode_.shape.readers(head).first;
    for (int i = 0; i < block.heads; ++i) {
      normalise({block.acc, block.m, block.l}, {block.acc, lse}, i, block.head_dim);
    }
  }

  const Decode& decode_;
  const Split& split_;
  ThreadWorkspace& workspace_;
  int turn_ = 0;           // which of the two tiles is filled next
  int waiting_head_ = -1;  // of the other
};

/// All rows' splits. Row r has those from first[r] to first[r + 1], in order.
struct Splits {
  std::vector<Split> all;
  std::vector<std::int64_t> first{0};

  std::int64_t of_row(std::size_t row) const { return first[row + 1] - first[row]; }
};

/// Each with the memory its partial goes to: the row's own when it has one split only.
Splits cut(const Decode& decode, Workspace& workspace) {
  const std::int64_t heads = decode.shape.query_heads;
  const std::int64_t values = heads * (decode.shape.head_dim + 1);
  std::int64_t stored = 0;
  Splits splits;
  for (const DecodeRow& row : decode.rows) {
    const std::int64_t count = (row.columns() + kSplitColumns - 1) / kSplitColumns;
    for (std::int64_t index = 0; index < count; ++index) {
      splits.all.push_back({&row, index, row.out});
    }
    splits.first.push_back(std::ssize(splits.all));
    if (count > 1) stored += count;
  }
  if (std::ssize(workspace.split_values) < stored * values) {
    workspace.split_values.resize(stored * values);
  }
  float* next = workspace.split_values.data();
  for (Split& split : splits.all) {
    if (split.row->columns() <= kSplitColumns) continue;
    split.out = {next, next + heads * decode.shape.head_dim};
    next += values;
  }
  return splits;
}

/// Whether all rows begin with the same page, as answers to one prompt do.
bool begin_alike(const std::vector<DecodeRow>& rows) {
  const auto first_page = [](const DecodeRow& row) {
    const bool has_one = !row.segments.empty() && row.segments[0].len > 0;
    const KvView view = has_one ? row.segments[0].view : KvView{};
    return std::pair(view.k, has_one ? view.slot(0) : 0);
  };
  return rows.size() > 1 && std::ranges::all_of(rows, [&](const DecodeRow& row) {
           return first_page(row) == first_page(rows[0]);
         });
}

/// What a thread does at a time: some KV heads of a split.
struct Pass {
  const Split* split;
  int first_head;
};

/// The first splits of all rows, then the second, each of one group of heads after the other: rows
/// that share pages then find them in the cache.
std::vector<Pass> in_turn(const Splits& splits, int kv_heads, int heads_at_once) {
  std::vector<Pass> passes;
  const std::size_t rows = splits.first.size() - 1;
  std::int64_t most = 0;
  for (std::size_t row = 0; row < rows; ++row) most = std::max(most, splits.of_row(row));
  for (std::int64_t index = 0; index < most; ++index) {
    for (int head = 0; head < kv_heads; head += heads_at_once) {
      for (std::size_t row = 0; row < rows; ++row) {
        if (index < splits.of_row(row)) {
          passes.push_back({&splits.all[splits.first[row] + index], head});
        }
      }
    }
  }
  return passes;
}

std::int64_t merge_rows(const Decode& decode, const Splits& splits, Workspace& workspace,
                        int threads) {
  workspace.splits.clear();
  for (const Split& split : splits.all) workspace.splits.push_back(split.out);
  std::atomic<std::int64_t> bad = 0;
  const int heads = decode.shape.query_heads;
  parallel_for(std::ssize(decode.rows) * heads, threads, [&](std::int64_t task, int) {
    const std::int64_t row = task / heads;
    const auto sources = std::span(workspace.splits).subspan(splits.first[row], splits.of_row(row));
    bad += merge_at(sources, decode.rows[row].out, task % heads, decode.shape.head_dim);
  });
  return bad;
}

}  // namespace

std::int64_t run_decode(const Decode& decode, Workspace& workspace, int threads) {
  const Splits splits = cut(decode, workspace);
  const int kv_heads = decode.shape.kv_heads;
  // Where splits are few, their heads are tasks of their own, or threads would have nothing to do;
  // where rows share pages, since a split of one head fits into a core's cache.
  const bool plenty = threads == 1 || std::ssize(splits.all) >= 4 * threads;
  const int heads_at_once = plenty && !begin_alike(decode.rows) ? kv_heads : 1;
  const std::vector<Pass> passes = in_turn(splits, kv_heads, heads_at_once);
  parallel_for(std::ssize(passes), threads, [&](std::int64_t task, int thread) {
    const auto [split, head] = passes[task];
    SplitPass(decode, *split, *workspace.threads[thread])
        .run(head, std::min(head + heads_at_once, kv_heads));
  });
  return merge_rows(decode, splits, workspace, threads);
}

}  // namespace longspan

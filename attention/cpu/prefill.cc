#include "attention/cpu/prefill.h"

#include <algorithm>

#include "attention/cpu/parallel.h"

namespace longspan {
namespace {

/// One row tile of one KV head. The query heads that read this KV head are packed over token rows,
/// so they share every key that is fetched: packed row p is the head of reader p mod readers, and
/// token row p div readers.
class TilePass {
 public:
  TilePass(const Prefill& prefill, ThreadWorkspace& workspace, int kv_head, std::int64_t first)
      : prefill_(prefill),
        workspace_(workspace),
        kv_head_(kv_head),
        readers_(prefill.shape.readers(kv_head)),
        first_(first),
        lanes_(static_cast<int>(std::min<std::int64_t>(
            kTileLanes, std::ssize(prefill.positions) * readers_.count - first))) {}

  void run() {
    load();
    for (const KvSegment& segment : prefill_.segments) attend(segment);
    store();
  }

 private:
  std::int64_t row(int lane) const { return (first_ + lane) / readers_.count; }
  /// Row and head as one index into the arrays of queries and state.
  std::int64_t row_head(int lane) const {
    return row(lane) * prefill_.shape.query_heads + readers_.first +
           (first_ + lane) % readers_.count;
  }

  void load() {
    const int head_dim = prefill_.shape.head_dim;
    workspace_.rows.start(lanes_);
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::int64_t at = row_head(lane);
      workspace_.rows.set_query(lane, prefill_.q + at * head_dim, prefill_.scale);
      workspace_.rows.set_state(lane, prefill_.state.acc + at * head_dim, prefill_.state.m[at],
                                prefill_.state.l[at]);
    }
  }

  void store() {
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::int64_t at = row_head(lane);
      workspace_.rows.copy_state(lane, prefill_.state.acc + at * prefill_.shape.head_dim,
                                 prefill_.state.m + at, prefill_.state.l + at);
    }
  }

  void attend(const KvSegment& segment) {
    const Interval seen = find_visible(segment);
    for (std::int64_t column = 0; column < seen.end; column += kTileColumns) {
      const int count = static_cast<int>(std::min<std::int64_t>(kTileColumns, seen.end - column));
      workspace_.keys.clear();
      workspace_.keys.append(segment.view, kv_head_, prefill_.shape.head_dim, column, count);
      if (column + count <= seen.begin) {
        workspace_.rows.attend(workspace_.keys.tile());
      } else {
        attend_masked(column);
      }
    }
  }

  void attend_masked(std::int64_t column) {
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::int64_t limit = workspace_.visible[lane] - column;
      workspace_.limits[lane] =
          static_cast<std::int32_t>(std::clamp<std::int64_t>(limit, 0, kTileColumns));
    }
    workspace_.rows.attend(workspace_.keys.tile(), workspace_.limits);
  }

  /// How many columns each lane sees. Of the result, all lanes see [0, begin), none [end, ...).
  Interval find_visible(const KvSegment& segment) {
    Interval seen{segment.len, 0};
    for (int lane = 0; lane < lanes_; ++lane) {
      if (lane == 0 || row(lane) != row(lane - 1)) {
        const std::int64_t columns =
            std::min(segment.visible(prefill_.positions[row(lane)]), segment.len);
        seen = {std::min(seen.begin, columns), std::max(seen.end, columns)};
        workspace_.visible[lane] = columns;
      } else {
        workspace_.visible[lane] = workspace_.visible[lane - 1];
      }
    }
    // Lanes that only fill up a vector see nothing.
    std::fill(workspace_.limits.begin() + lanes_, workspace_.limits.end(), 0);
    return seen;
  }

  const Prefill& prefill_;
  ThreadWorkspace& workspace_;
  int kv_head_;
  HeadRange readers_;
  std::int64_t first_;  // packed row of lane 0
  int lanes_;
};

}  // namespace

void run_prefill(const Prefill& prefill, Workspace& workspace, int threads) {
  const std::int64_t packed_rows = std::ssize(prefill.positions) * prefill.shape.most_readers();
  const std::int64_t tiles = (packed_rows + kTileLanes - 1) / kTileLanes;
  const std::int64_t tasks = tiles * prefill.shape.kv_heads;
  parallel_for(tasks, threads, [&](std::int64_t task, int thread) {
    // Under a causal mask late rows see most: they start first, so that no thread is left with a
    // long task at the end.
    const std::int64_t tile = tiles - 1 - task / prefill.shape.kv_heads;
    const int kv_head = static_cast<int>(task % prefill.shape.kv_heads);
    const std::int64_t readers = prefill.shape.readers(kv_head).count;
    if (tile * kTileLanes >= std::ssize(prefill.positions) * readers) return;
    TilePass(prefill, *workspace.threads[thread], kv_head, tile * kTileLanes).run();
  });
}

}  // namespace longspan

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
    const Seen seen = find_seen(segment);
    // Tiles begin at multiples from column 0 on, wherever the lanes' columns begin: else a row's
    // bits would depend on its neighbours.
    const std::int64_t first = seen.some.begin / kTileColumns * kTileColumns;
    for (std::int64_t column = first; column < seen.some.end; column += kTileColumns) {
      const int count =
          static_cast<int>(std::min<std::int64_t>(kTileColumns, seen.some.end - column));
      workspace_.keys.clear();
      workspace_.keys.append(segment.view, kv_head_, column, count);
      if (column >= seen.all.begin && column + count <= seen.all.end) {
        workspace_.rows.attend(workspace_.keys.tile());
      } else {
        attend_masked(column);
      }
    }
  }

  void attend_masked(std::int64_t column) {
    const auto in_tile = [column](std::int64_t of_segment) {
      return static_cast<std::int32_t>(
          std::clamp<std::int64_t>(of_segment - column, 0, kTileColumns));
    };
    TileColumns& tile = workspace_.tile_seen;
    for (int lane = 0; lane < lanes_; ++lane) {
      tile.begin[lane] = in_tile(workspace_.seen[lane].begin);
      tile.end[lane] = in_tile(workspace_.seen[lane].end);
    }
    workspace_.rows.attend(workspace_.keys.tile(), tile);
  }

  /// Every lane sees the columns `all`; outside of `some` no lane sees any.
  struct Seen {
    Interval all;
    Interval some;
  };

  /// Which columns each lane sees.
  Seen find_seen(const KvSegment& segment) {
    Seen seen{{0, segment.len}, {segment.len, 0}};
    for (int lane = 0; lane < lanes_; ++lane) {
      if (lane > 0 && row(lane) == row(lane - 1)) {
        workspace_.seen[lane] = workspace_.seen[lane - 1];
        continue;
      }
      const Interval columns = segment.seen(prefill_.positions[row(lane)]);
      workspace_.seen[lane] = columns;
      seen.all = {std::max(seen.all.begin, columns.begin), std::min(seen.all.end, columns.end)};
      if (columns.begin == columns.end) continue;
      seen.some = {std::min(seen.some.begin, columns.begin), std::max(seen.some.end, columns.end)};
    }
    std::fill(workspace_.tile_seen.end.begin() + lanes_, workspace_.tile_seen.end.end(), 0);
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

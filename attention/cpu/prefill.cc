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
  TilePass(const Prefill& prefill, ThreadWorkspace& workspace, int kv_head, Interval packed_rows)
      : prefill_(prefill),
        workspace_(workspace),
        rows_(*workspace.rows),
        kv_head_(kv_head),
        readers_(prefill.shape.readers(kv_head)),
        first_(packed_rows.begin),
        lanes_(static_cast<int>(packed_rows.end - packed_rows.begin)) {}

  void run() {
    load();
    for (const KvSegment& segment : prefill_.segments) attend(segment);
    store();
    rows_.stop();
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
    rows_.start(lanes_, prefill_.scale);
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::int64_t at = row_head(lane);
      rows_.set_query(lane, prefill_.q + at * head_dim);
      rows_.set_state(lane, prefill_.state.acc + at * head_dim, prefill_.state.m[at],
                      prefill_.state.l[at]);
    }
  }

  void store() {
    for (int lane = 0; lane < lanes_; ++lane) {
      const std::int64_t at = row_head(lane);
      rows_.copy_state(lane, prefill_.state.acc + at * prefill_.shape.head_dim,
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
        rows_.attend(workspace_.keys.tile());
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
    rows_.attend(workspace_.keys.tile(), tile);
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
  RowTile& rows_;
  int kv_head_;
  HeadRange readers_;
  std::int64_t first_;  // packed row of lane 0
  int lanes_;
};

/// Few enough for several tasks a thread, so that they end together.
int lanes_of_a_task(std::int64_t lanes, int threads, int most) {
  constexpr int kTasksPerThread = 8;
  constexpr int kLeast = 96;
  const std::int64_t even = lanes / (std::int64_t{kTasksPerThread} * threads);
  return static_cast<int>(std::clamp<std::int64_t>(even / kLeast * kLeast, kLeast, most));
}

}  // namespace

void run_prefill(const Prefill& prefill, Workspace& workspace, int threads) {
  const std::int64_t packed_rows = std::ssize(prefill.positions) * prefill.shape.most_readers();
  const int lanes = lanes_of_a_task(packed_rows * prefill.shape.kv_heads, threads,
                                    workspace.threads.front()->rows->most_lanes());
  const std::int64_t tiles = (packed_rows + lanes - 1) / lanes;
  const std::int64_t tasks = tiles * prefill.shape.kv_heads;
  parallel_for(tasks, threads, [&](std::int64_t task, int thread) {
    // Under a causal mask late rows see most: they start first, so that no thread is left with a
    // long task at the end.
    const std::int64_t tile = tiles - 1 - task / prefill.shape.kv_heads;
    const int kv_head = static_cast<int>(task % prefill.shape.kv_heads);
    const std::int64_t end = std::ssize(prefill.positions) * prefill.shape.readers(kv_head).count;
    const Interval rows{tile * lanes, std::min(end, (tile + 1) * lanes)};
    if (rows.begin < rows.end) TilePass(prefill, *workspace.threads[thread], kv_head, rows).run();
  });
}

}  // namespace longspan

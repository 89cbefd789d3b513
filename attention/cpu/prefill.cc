#include "attention/cpu/prefill.h"

#include <algorithm>
#include <array>
#include <cstdint>

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
    if (segment.mask.needs_choice()) return attend_chosen(segment, seen.some.end);
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

  /// Some columns of a segment that are attended together.
  struct ChosenTile {
    std::array<std::int64_t, kTileColumns> columns;
    int count = 0;

    std::int32_t before(std::int64_t column) const {
      const auto end = columns.begin() + count;
      return static_cast<std::int32_t>(std::lower_bound(columns.begin(), end, column) -
                                       columns.begin());
    }
  };
  /// Lanes [begin, end).
  struct Lanes {
    int begin;
    int end;
  };

  std::int64_t position(int lane) const { return prefill_.positions[row(lane)]; }

  /// Rows of one query unit share a choice. Each unit's tiles hold the columns that it names, from
  /// column 0 on, and are attended by its rows alone: whatever rows share the pass, a row's tiles
  /// are the same.
  void attend_chosen(const KvSegment& segment, std::int64_t end) {
    const KeyChoice& choice = segment.choice;
    for (Lanes lanes{0, 0}; lanes.begin < lanes_; lanes.begin = lanes.end) {
      const std::int64_t unit = position(lanes.begin) / choice.query_unit;
      while (lanes.end < lanes_ && position(lanes.end) / choice.query_unit == unit) ++lanes.end;
      attend_unit(segment, lanes, choice.of(kv_head_, unit), end);
    }
  }

  void attend_unit(const KvSegment& segment, const Lanes& lanes, const std::uint8_t* chosen,
                   std::int64_t end) {
    const PositionRun& run = segment.positions;
    const std::int64_t key_unit = segment.choice.key_unit;
    ChosenTile tile;
    for (std::int64_t column = 0; column < end;) {
      const std::int64_t unit = run.position(column) / key_unit;
      const std::int64_t next = std::min(run.visible((unit + 1) * key_unit - 1), end);
      for (; chosen[unit] && column < next; ++column) {
        tile.columns[tile.count++] = column;
        if (tile.count == kTileColumns) attend_tile(segment, lanes, tile);
      }
      column = next;
    }
    if (tile.count > 0) attend_tile(segment, lanes, tile);
  }

  /// Leaves the tile empty.
  void attend_tile(const KvSegment& segment, const Lanes& lanes, ChosenTile& tile) {
    TileColumns& seen = workspace_.tile_seen;
    std::fill_n(seen.begin.begin(), lanes_, 0);
    std::fill_n(seen.end.begin(), lanes_, 0);
    bool any = false;
    for (int lane = lanes.begin; lane < lanes.end; ++lane) {
      seen.begin[lane] = tile.before(workspace_.seen[lane].begin);
      seen.end[lane] = tile.before(workspace_.seen[lane].end);
      any |= seen.begin[lane] < seen.end[lane];
    }
    if (any) {
      workspace_.keys.clear();
      for (int i = 0; i < tile.count; ++i) {
        workspace_.keys.append(segment.view, kv_head_, tile.columns[i], 1);
      }
      rows_.attend(workspace_.keys.tile(), seen);
    }
    tile.count = 0;
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

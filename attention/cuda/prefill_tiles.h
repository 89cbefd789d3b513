// The work of a prefill launch in tiles of 128 query rows of one head, against blocks of 128 key
// columns: which blocks a tile walks over, which of them need a mask, who takes which tile. The
// host plans with it, producer and consumers of the kernel walk by it, tests count with it.
//
//   rows of a launch   | run | run   | ...        a run's rows are counted from 0
//   a run              | row tile | row tile |    its segments: what its rows see, in list order
//   a segment          | block | block | block |  walked from the last to the first: masked blocks
//                                                 come first, so that maxima settle early
#pragma once

#include <cstdint>

#include "attention/partial.h"

namespace longspan {

inline constexpr int kTileRows = 128;
inline constexpr int kBlockColumns = 128;
/// Views of memory that one launch can tell apart.
inline constexpr int kMostViews = 16;

/// Whether there are kernels for it.
constexpr bool head_dim_runs_tiles(int head_dim) { return head_dim == 64 || head_dim == 128; }

/// A column that depends on the row: clamp((row & ~gran) + off, 0, cap). gran + 1 is a power of
/// two, or gran is kEveryRow: the same for all rows.
struct RowBound {
  static constexpr std::int32_t kEveryRow = 0x7fffffff;

  std::int32_t gran = 0;
  std::int32_t off = 0;
  std::int32_t cap = 0;

  static constexpr RowBound always(std::int32_t column) { return {kEveryRow, column, column}; }
  /// It never falls from row to row.
  constexpr std::int32_t of(std::int32_t row) const {
    const std::int32_t column = (row & ~gran) + off;
    return column < 0 ? 0 : column < cap ? column : cap;  // by value: std::clamp takes addresses
  }
};

/// What the rows of one run see of a segment: row r the columns [begin.of(r), end.of(r)).
struct TileSegment {
  const std::int32_t* table = nullptr;  // on the GPU; null: page p is in slot p
  RowBound begin, end;
  std::int32_t len = 0;         // columns; end.cap is at most this
  std::int32_t page_shift = 0;  // log2 of a page's columns, or kOnePage
  std::int32_t box_shift = 0;   // log2 of the columns that are copied at once: 3 to 7
  std::int32_t view = 0;        // which maps of the launch show its memory
  std::uint64_t arrival = 0;    // it is there when the launch's count of arrivals is so high

  static constexpr std::int32_t kOnePage = 31;

  /// Boxes that hold the columns of a block.
  constexpr std::int32_t boxes(std::int32_t block) const {
    const std::int32_t left = len - block * kBlockColumns;
    const std::int32_t columns = left < kBlockColumns ? left : kBlockColumns;
    return (columns + (1 << box_shift) - 1) >> box_shift;
  }
  /// First column of a block's box.
  constexpr std::int32_t box_column(std::int32_t block, std::int32_t box) const {
    return block * kBlockColumns + (box << box_shift);
  }
  constexpr std::int32_t page(std::int32_t column) const { return column >> page_shift; }
  constexpr std::int32_t in_page(std::int32_t column) const {
    return column - (page(column) << page_shift);
  }
};

struct QueryTile {
  std::int64_t row = 0;       // of the launch
  std::int32_t rows = 0;      // 1 to kTileRows
  std::int32_t in_run = 0;    // index of the first one in its run
  std::int32_t segment = 0;   // the first of its run
  std::int32_t segments = 0;  // of its run
};

struct BlockRange {
  std::int32_t begin;
  std::int32_t end;
};

/// The blocks that some row from `first` to `last` of the run sees; none where end <= begin.
constexpr BlockRange blocks_seen(const TileSegment& segment, std::int32_t first,
                                 std::int32_t last) {
  const std::int32_t begin = segment.begin.of(first), end = segment.end.of(last);
  if (begin >= end) return {0, 0};
  return {begin / kBlockColumns, (end - 1) / kBlockColumns + 1};
}

/// Which columns of a segment all rows from `first` to `last` see: blocks inside need no mask.
struct SeenByAll {
  std::int32_t begin = 0, end = 0;

  constexpr SeenByAll() = default;
  constexpr SeenByAll(const TileSegment& segment, std::int32_t first, std::int32_t last)
      : begin(segment.begin.of(last)), end(segment.end.of(first)) {}
  constexpr std::int32_t first_block() const {
    return begin / kBlockColumns + (begin % kBlockColumns > 0);
  }
  constexpr std::int32_t end_block() const { return end / kBlockColumns; }
  constexpr bool holds(std::int32_t block) const {
    return block >= first_block() && block < end_block();
  }
};

/// The blocks of a row tile in the order in which they are folded in.
class BlockWalk {
 public:
  constexpr BlockWalk(const TileSegment* segments, std::int32_t first_segment, std::int32_t count,
                      std::int32_t first_row, std::int32_t last_row)
      : segments_(segments),
        segment_(first_segment - 1),
        left_(count),
        first_row_(first_row),
        last_row_(last_row) {}

  /// On to the next block, if there is one.
  constexpr bool next() {
    begins_segment_ = block_ == first_;
    if (!begins_segment_) {
      --block_;
      return true;
    }
    while (left_ > 0) {
      --left_;
      const BlockRange range = blocks_seen(segments_[++segment_], first_row_, last_row_);
      if (range.begin >= range.end) continue;
      block_ = range.end - 1;
      first_ = range.begin;
      return true;
    }
    return false;
  }
  /// Past all blocks that `seen` holds of those that follow in this segment; how many they are.
  constexpr std::int32_t skip_inside(const SeenByAll& seen) {
    if (block_ > seen.end_block()) return 0;
    const std::int32_t last = seen.first_block() > first_ ? seen.first_block() : first_;
    const std::int32_t count = block_ > last ? block_ - last : 0;
    block_ -= count;
    return count;
  }
  constexpr const TileSegment& segment() const { return segments_[segment_]; }
  constexpr std::int32_t segment_index() const { return segment_; }
  constexpr std::int32_t block() const { return block_; }
  /// Whether this is the segment's first block on the walk.
  constexpr bool begins_segment() const { return begins_segment_; }

 private:
  const TileSegment* segments_;
  std::int32_t segment_;
  std::int32_t left_;
  std::int32_t first_row_, last_row_;
  std::int32_t block_ = 0, first_ = 0;
  bool begins_segment_ = false;
};

constexpr BlockWalk walk_over(const QueryTile& tile, const TileSegment* segments) {
  return {segments, tile.segment, tile.segments, tile.in_run, tile.in_run + tile.rows - 1};
}

/// The order of tiles. Heads go in sections whose keys fit into L2 together; within one, all heads
/// of a row tile are neighbours, so that those of one KV head share what is fetched.
struct TileOrder {
  std::int32_t query_tiles = 0;  // longest first
  std::int32_t heads = 0;
  std::int32_t section = 1;  // heads

  struct Tile {
    std::int32_t query_tile, head;
  };

  constexpr std::int32_t count() const { return query_tiles * heads; }
  constexpr Tile at(std::int32_t index) const {
    const std::int32_t first_head = index / (query_tiles * section) * section;
    const std::int32_t width = section < heads - first_head ? section : heads - first_head;
    const std::int32_t inside = index - query_tiles * first_head;
    return {inside / width, first_head + inside % width};
  }
};

/// What a launch of any kernel of tiles is given, beside memory as that kernel reads it.
struct PrefillTiles {
  HeadShape shape;
  float scale;  // > 0
  TileOrder order;
  const QueryTile* query_tiles;  // on the GPU, and so are the segments; each sees a column or more
  const TileSegment* segments;   // of all runs
  RunningState state;
};

}  // namespace longspan

// From positions to row indices: what a kernel that knows no positions needs to be told of a mask.
//
// Rows of a list of positions fall into runs, and of each run the columns that row i sees are given
// by two RowBounds, with one rule for solid runs, and one for two runs of equal blocks and strides:
//
//   keys     b b . . b b . . b b        v = where the queries' blocks lie in the keys' stride
//   queries      q q . . q q            v = 0: row i sees i + off; between: all rows of a block
//                                       see whole blocks of keys
//
// Runs that fit no rule are cut until they do, in the end to rows of their own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "attention/cuda/prefill_tiles.h"
#include "attention/segment.h"

namespace longspan {

/// Rows first_row, first_row + 1, ... of a launch, at these positions.
struct RowRun {
  std::int64_t first_row;
  PositionRun positions;
};

/// The rows of a launch as few runs, in order.
std::vector<RowRun> runs_of(std::span<const std::int64_t> positions);

/// keys.visible(queries.position(i) - behind) as a function of i, if one bound can say it.
std::optional<RowBound> lowered(const PositionRun& queries, const PositionRun& keys,
                                std::int64_t behind);

/// Whether bounds can say what rows see: full, causal and windowed masks.
bool has_bounds(const Mask& mask);

struct SeenColumns {
  RowBound begin, end;
};

/// What the run's rows see of the segment, whose mask has bounds.
std::optional<SeenColumns> lowered(const PositionRun& queries, const KvSegment& segment);

/// The run in parts of which each has its bounds in all segments.
std::vector<RowRun> cut_to_fit(const RowRun& run, std::span<const KvSegment> segments);

}  // namespace longspan

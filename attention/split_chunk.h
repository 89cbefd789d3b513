// One chunk of a sequence as the ranks of a group share it: which rows each computes, what each
// sends, what each keeps. Worked out once from the plan and used by every layer.
//
// The stream of rank j is what the others need from it: the cached columns whose pages it owns, in
// page order, then the KV of the rows it computes now.
//
//   stream j   | cached columns of j's pages | run 0 | run 1 ...        one contiguous message
//
// Under a window the cached columns begin with the first that the chunk's first row sees: older
// ones are seen by no row, so they do not travel; nor do those between an anchor and what is near.
// A model with several masks has a chunk for each.
//
// Retention: the KV of every row passes every rank, so a rank keeps the columns whose pages it owns
// as they come by. Storing a sequence elsewhere than where it was computed costs no message
// (LoongServe, arXiv 2404.09526, section 4.1).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/segment.h"
#include "attention/shard_layout.h"

namespace longspan {

/// Where the pages of one sequence live, as this rank sees it.
struct SequenceStorage {
  std::int64_t page_tokens = 1;
  /// Owner of each page, as an index of the group; covers the chunk's last position.
  std::vector<int> owners;
  /// Slots of the pages that this rank owns, in page order.
  std::vector<std::int32_t> slots;
  /// Of pages that fill elsewhere (kv_pages.h): where the one that is not full does.
  std::int32_t tail = 0;
};

/// Neighbours among a rank's own cached columns.
struct CachedPiece {
  std::int64_t first = 0;  // of its own columns
  std::int64_t count = 0;
  std::vector<PositionRun> runs;  // their positions, unless every row sees them all

  /// Of its own columns.
  Interval columns() const { return {first, first + count}; }
};

/// What rank j sends around.
struct StreamShape {
  std::int64_t cached = 0;          // columns before the chunk, of all pieces
  std::vector<CachedPiece> pieces;  // one after the other in the stream, none empty
  std::int64_t held = 0;            // of its own columns, all before the chunk
  std::vector<PositionRun> runs;    // the rows it computes
  std::int64_t rows = 0;

  std::int64_t columns() const { return cached + rows; }
  /// Of the rows, in order.
  std::vector<std::int64_t> positions() const;
};

/// Columns from_column, +1, ... of a stream, kept in own pages at columns to.position(0), ...
struct Keep {
  std::int64_t from_column;
  PositionRun to;
};

struct SplitChunk {
  int rank = 0;  // this rank in the group
  Mask mask = Mask::causal();
  KeyChoice choice;                     // if the mask needs one
  std::vector<StreamShape> streams;     // one per rank of the group
  std::vector<std::vector<Keep>> keep;  // what this rank keeps of each stream
  std::vector<std::int64_t> positions;  // of this rank's rows
  std::int64_t page_tokens = 1;
  std::vector<std::int32_t> slots;  // own pages
  std::int32_t tail = 0;            // the own page that is not full, if it fills elsewhere

  int size() const { return static_cast<int>(streams.size()); }
  const StreamShape& own() const { return streams[rank]; }
  /// Columns of all streams, the whole sequence up to the chunk's end.
  std::int64_t all_columns() const;
  /// Rows of all ranks.
  std::int64_t all_rows() const;
  /// Columns of the sequence that this rank holds before the chunk, and those it keeps of it.
  std::int64_t held_columns() const { return own().held; }
  std::int64_t kept_columns() const;
  /// Whether this rank keeps the KV of its own rows and of no others.
  bool keeps_its_own() const;
};

/// Throws std::logic_error when `storage` does not cover the
/// chunk or names more own pages than slots.
SplitChunk make_split_chunk(const Deal& deal, int rank, const SequenceStorage& storage,
                            const Mask& mask = Mask::causal());

/// The stream of rank `rank`. `storage` covers what is cached; its slots are not used.
StreamShape make_stream(const Deal& deal, int rank, const SequenceStorage& storage,
                        const Mask& mask);

/// How many of the positions [0, length) of `storage` rank `rank` owns.
std::int64_t owned_columns(const SequenceStorage& storage, int rank, std::int64_t length);

/// The positions [begin, end) of `storage` that rank `rank` owns, in order: pages at equal
/// distances share a run, a page that is cut at its beginning is a run of its own.
std::vector<PositionRun> owned_runs(const SequenceStorage& storage, int rank, Interval positions);

}  // namespace longspan

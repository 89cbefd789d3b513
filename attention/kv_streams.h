// The streams of one chunk as they lie in memory, and what a rank does with one that it holds.
//
//   stream j   | K: head 0, head 1, ... | V: head 0, head 1, ...        one contiguous message
//   head       | cached columns, if they travel | new columns |         (columns, head_dim)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/kernels.h"
#include "attention/split_chunk.h"

namespace longspan {

/// Whether the cached columns of a rank are part of its stream, or are read where they are: by the
/// rank that owns them, when keys stay and queries travel.
enum class Cached { kTravel, kStay };

/// Borrows everything it is given.
class KvStreams {
 public:
  /// `pages`: the pool at this layer, without a table.
  KvStreams(AttentionKernels& kernels, const SplitChunk& chunk, const KvView& pages, Cached cached)
      : kernels_(kernels), chunk_(chunk), pages_(pages), cached_(cached) {}

  const SplitChunk& chunk() const { return chunk_; }
  /// The stream's column where the rows' keys begin.
  std::int64_t column0(int owner) const;
  /// Floats of the stream, which begins at `memory`.
  std::int64_t values(int owner) const;
  Bytes bytes(int owner, const float* memory) const;
  KvView view(int owner, float* memory) const;

  /// Enqueues the copy of own cached columns into the own stream, if they travel.
  void pack_own(Stream& stream, float* memory) const;
  /// What rows of the chunk may see of the stream. Runs of which no position from the first of the
  /// rows to the last sees a column are left out: where keys lie far from queries, nothing is left.
  std::vector<KvSegment> segments(int owner, float* memory,
                                  std::span<const std::int64_t> rows) const;
  /// Enqueues the copies of what this rank keeps of the stream into its pages.
  void keep(Stream& stream, int owner, float* memory) const;

 private:
  KvView own_pages() const;
  std::vector<KvSegment> cached_segments(const StreamShape& shape, const KvView& view) const;
  void add_runs(const std::vector<PositionRun>& runs, const KvView& view, std::int64_t column,
                std::vector<KvSegment>& out) const;

  AttentionKernels& kernels_;
  const SplitChunk& chunk_;
  KvView pages_;
  Cached cached_;
};

}  // namespace longspan

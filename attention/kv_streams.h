// The streams of one chunk as they lie in memory, and what a rank does with one that it holds.
//
//   stream j   | new columns: K, V | cached columns, if they travel |       one contiguous message
//
// New columns are as the kernels ask for: K: head 0, head 1, ... then V, (columns, head_dim) each.
// Cached ones are as they are at rest, piece by piece, and page by page where pages have scales:
// what is left of the page that a piece begins in, whole pages, the beginning of the one that it
// ends in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/kernels.h"
#include "attention/kv_pages.h"
#include "attention/split_chunk.h"

namespace longspan {

/// Whether the cached columns of a rank are part of its stream, or are read where they are: by the
/// rank that owns them, when keys stay and queries travel.
enum class Cached { kTravel, kStay };

/// Borrows everything it is given.
class KvStreams {
 public:
  /// `pages`: at this layer. All ranks' pages are of its type.
  KvStreams(AttentionKernels& kernels, const SplitChunk& chunk, const KvPages& pages, Cached cached)
      : kernels_(kernels), chunk_(chunk), pages_(pages), cached_(cached) {}

  const SplitChunk& chunk() const { return chunk_; }
  /// Floats of the stream, which begins at `memory`.
  std::int64_t values(int owner) const;
  /// Of the longest.
  std::int64_t most_values() const;
  Bytes bytes(int owner, const float* memory) const;
  /// The stream's new columns.
  KvView rows(int owner, float* memory) const;
  /// The stream's cached columns, piece by piece, in parts that are not empty; none if they stay.
  std::vector<std::vector<KvPart>> cached(int owner, float* memory) const;

  /// All of them, cached ones first.
  std::vector<KvPart> parts(int owner, float* memory) const;

  /// Enqueues the copy of own cached columns into the own stream, if they travel.
  void pack_own(Stream& stream, float* memory) const;
  /// What rows of the chunk may see of the stream. Runs of which no position from the first of the
  /// rows to the last sees a column are left out: where keys lie far from queries, nothing is left.
  std::vector<KvSegment> segments(int owner, float* memory,
                                  std::span<const std::int64_t> rows) const;
  /// Enqueues the copies of what this rank keeps of the stream into its pages.
  void keep(Stream& stream, int owner, float* memory) const;

 private:
  KvType row_type() const { return kernels_.new_columns(pages_.rest.type); }
  /// Bytes of the stream's new columns.
  std::int64_t row_bytes(int owner) const;
  std::vector<std::vector<KvPart>> own_cached() const;
  void add_cached(const StreamShape& shape, const std::vector<std::vector<KvPart>>& parts,
                  std::vector<KvSegment>& out) const;
  void add_runs(const std::vector<PositionRun>& runs, const std::vector<KvPart>& parts,
                std::vector<KvSegment>& out) const;

  AttentionKernels& kernels_;
  const SplitChunk& chunk_;
  KvPages pages_;
  Cached cached_;
};

}  // namespace longspan

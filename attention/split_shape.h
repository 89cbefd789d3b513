// One chunk as a group shares it, in sizes only: what the byte formulas and the time model need.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/mask.h"
#include "attention/shard_layout.h"
#include "attention/split_chunk.h"

namespace longspan {

/// Tokens and scored pairs (a row and a key it sees) by rank of the group. Pairs are per query
/// head. Full pairs are those of columns that all rows see, so that nobody looks at positions:
/// cached ones under a causal mask, all under a full mask, none under another. What a KeyChoice
/// decides counts whole: nobody knows yet.
struct SplitShape {
  std::vector<std::int64_t> cached;  // columns before the chunk that some row may see, by owner
  std::vector<std::int64_t> rows;    // new rows, by the rank that computes them
  std::vector<std::int64_t> masked;  // (query rank, key rank): pairs that positions decide
  Mask mask = Mask::causal();
  /// Which of its own columns are the cached ones of an owner, which decides, with the pages' size,
  /// how many scales they have: of its first ones `anchored`, and all from `first_cached` on. Under
  /// a window others come before, behind an anchor they come between. None: 0 for each.
  std::vector<std::int64_t> first_cached{};
  std::vector<std::int64_t> anchored{};
  std::int64_t page_tokens = 1;

  int size() const { return static_cast<int>(rows.size()); }
  /// The cached ones of rank j, of its own columns: the anchor's, then those that end where its
  /// columns do.
  std::array<Interval, 2> cached_columns(int j) const {
    const std::int64_t first = first_cached.empty() ? 0 : first_cached[j];
    const std::int64_t anchor = anchored.empty() ? 0 : anchored[j];
    return {Interval{0, anchor}, Interval{first, first + cached[j] - anchor}};
  }
  /// Columns that rank j contributes: those it holds and those it computes.
  std::int64_t stream(int j) const { return cached[j] + rows[j]; }
  std::int64_t masked_pairs(int query_rank, int key_rank) const {
    return masked[query_rank * size() + key_rank];
  }
  std::int64_t full_pairs(int query_rank, int key_rank) const {
    if (!mask.sees_all_before()) return 0;
    return rows[query_rank] * (mask.is_full() ? stream(key_rank) : cached[key_rank]);
  }

  std::int64_t new_tokens() const;
  std::int64_t columns() const;  // cached and new
  std::int64_t longest_stream() const;
  std::int64_t most_rows() const;
};

/// The shape of `deal` over what `storage` (its slots are not used) holds before it. Exact: pairs
/// are counted from the runs, in closed form per block.
SplitShape split_shape(const Deal& deal, const SequenceStorage& storage, const Mask& mask);

/// The same when pages were spread over the group, page p on rank p mod ranks.
SplitShape split_shape(const Deal& deal, std::int64_t page_tokens,
                       const Mask& mask = Mask::causal());

/// The same over `cached` columns per rank, wherever they are: under a causal mask.
SplitShape split_shape(const Deal& deal, std::span<const std::int64_t> cached);

/// What a perfectly balanced layout would come to: every rank the same share, rounded down.
SplitShape even_split(std::int64_t new_tokens, std::int64_t cached, int ranks);

/// Every `by` ranks in a row taken as one; `by` divides the size.
SplitShape joined(const SplitShape& shape, int by);

/// Of `length` tokens in pages of `page_tokens`, page p on rank p mod `ranks`: those on `rank`.
std::int64_t spread_columns(std::int64_t length, std::int64_t page_tokens, int ranks, int rank);

/// Pairs of a row of `queries` and a key of `keys` at its position or before.
std::int64_t causal_pairs(const PositionRun& queries, const PositionRun& keys);

/// Pairs of a row of `queries` and a key of `keys` that it sees; the mask is not full.
std::int64_t seen_pairs(const Mask& mask, const PositionRun& queries, const PositionRun& keys);

}  // namespace longspan

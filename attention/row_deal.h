// Who attends which rows of a prompt once it is known which keys they see.
//
// A layout deals rows before anybody knows how many keys each will see, so under a KeyChoice ranks
// get uneven work. Query blocks are dealt anew by what they cost: the dearest first, each to the
// rank with least so far (longest processing time first: at most 4/3 of the best deal where no
// rank runs out of room; Graham 1969). A pure function of the choice, so every rank deals alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/key_choice.h"
#include "attention/segment.h"

namespace longspan {

/// Pairs of a row at `position` and the keys that it sees of a causal mask's, over all query heads.
/// `choice`: of blocks, the row's own among them.
std::int64_t chosen_pairs(const KeyChoice& choice, const HeadShape& shape, std::int64_t position);

/// The same of each query block of a prompt of `tokens`.
std::vector<std::int64_t> block_pairs(const KeyChoice& choice, const HeadShape& shape,
                                      std::int64_t tokens);

/// What is to be dealt: the query blocks of a prompt.
struct BlockDeal {
  std::span<const std::int64_t> pairs;  // of each block
  std::int64_t block = 1;               // rows of each, but for the last
  std::int64_t tokens = 0;
  int ranks = 1;
  std::int64_t most_rows = 0;  // of a rank; with room for an even share and a block at least
};

/// The rank of each block.
std::vector<int> deal_blocks(const BlockDeal& deal);

/// The fullest rank's share of the pairs over an even one; 1 when there are none.
double imbalance(std::span<const std::int64_t> pairs_by_rank);

}  // namespace longspan

// The merges of a SentencePiece vocabulary, which has scores instead: two neighbours form a piece
// if what they spell together is one, and the piece of the highest score is formed first.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "runtime/model/byte_pairs.h"

namespace longspan {

struct ScoredPiece {
  std::string_view written;  // UTF-8, and no other piece's
  TokenId token;
  double score;
};

/// Every way to form a piece of two others. Pieces of one score share a rank.
BytePairs pairs_by_score(std::span<const ScoredPiece> pieces);

}  // namespace longspan

// Draws a token from logits: temperature, filters, and the token in whose part of [0, 1) a random
// number falls.
//
// The tokens' parts lie in order of id, not of probability: two tokens that are nearly equally
// likely may change places between two ways to add up the same logits, and in order of id no border
// moves further than the probabilities do.
#pragma once

#include <span>

#include "runtime/model/sampling.h"

namespace longspan {

struct Draw {
  TokenId id = 0;
  /// How little would have to change for another outcome: the distance, in probability, of the
  /// number from the nearest border of the token's part; or how near a filter was, in
  /// probability or in score, to letting another token in or one less, where that is nearer.
  double margin = 1;
};

/// `number` in [0, 1). sampling.draws(). Tokens whose logit is -inf or NaN are never drawn; the
/// first one if there are no others.
Draw draw(std::span<const float> logits, const Sampling& sampling, double number);

}  // namespace longspan

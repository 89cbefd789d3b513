// Draws a token from logits: temperature, filters, and the token in whose part of [0, 1) a random
// number falls.
//
// The tokens' parts lie in order of id, not of probability: two tokens that are nearly equally
// likely may change places between two ways to add up the same logits, and in order of id no border
// moves further than the probabilities do.
#pragma once

#include <optional>
#include <span>

#include "runtime/model/logit_summary.h"
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

/// The same token from a usable row's summary, for sampling.temperature, and its list of best
/// logits; nothing where those do not prove which it is. The margin is the same to nine digits.
std::optional<Draw> draw_listed(const LogitSummary& summary, std::span<const ListedLogit> list,
                                const Sampling& sampling, double number);
/// Whether a list can prove it: a filter keeps fewer tokens than it has.
bool may_draw_listed(const Sampling& sampling);

}  // namespace longspan

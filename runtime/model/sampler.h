// What one row of logits says: the chosen token, how probable it was, and the best alternatives.
//
// Log-probabilities are natural logs. The choice is greedy; ties go to the lower id, so that every
// degree of parallelism chooses alike.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

struct TokenScore {
  TokenId id = 0;
  double logprob = 0;

  friend bool operator==(const TokenScore&, const TokenScore&) = default;
};

struct Scored {
  TokenScore chosen;
  std::vector<TokenScore> top;  // best first, ties by lower id
};

/// The best token, or `forced` where one is given; and the `top_k` best (fewer when the vocabulary
/// is smaller). Throws Error(kInternal) naming the first id whose logit is NaN or +inf.
Scored score(std::span<const float> logits, int top_k = 0,
             std::optional<TokenId> forced = std::nullopt);

/// Log-probability of one token: what prompt scoring needs. Throws as score().
double log_probability(std::span<const float> logits, TokenId id);

}  // namespace longspan

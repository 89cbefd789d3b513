// What one row of logits says: the chosen token, how probable it was, and the best alternatives.
//
// Log-probabilities are natural logs, and the model's own: of its logits as they are, whatever a
// request does to them before a token is chosen. Ties go to the lower id, so that every degree of
// parallelism chooses alike.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "runtime/model/sampling.h"
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
  double margin = 1;            // of the draw, see Draw; 1 where nothing was drawn
};

/// The best token, or `forced` where one is given; and the `top_k` best (fewer when the vocabulary
/// is smaller). Throws Error(kInternal) naming the first id whose logit is NaN or +inf.
Scored score(std::span<const float> logits, int top_k = 0,
             std::optional<TokenId> forced = std::nullopt);

/// The token that a request asks for, as score() would report it if it were forced. `history` and
/// `written`: as adjust_logits(); `position`: of the token in its sequence. Throws as score().
Scored sample(std::span<const float> logits, int top_k, const Sampling& sampling,
              const TokenCounts& history, std::int64_t written, std::int64_t position);

/// Log-probability of one token: what prompt scoring needs. Throws as score().
double log_probability(std::span<const float> logits, TokenId id);

}  // namespace longspan

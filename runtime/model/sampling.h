// How the next token is chosen from a row of logits; what a request asks for.
//
// In this order, which is that of Hugging Face transformers (generation/utils.py,
// _get_logits_processor); the penalties that it does not have stand where OpenAI's API and vLLM
// have them, after the repetition penalty:
//
//   bias --> repetition --> presence, frequency --> no stop before min_tokens     adjust_logits()
//        --> temperature --> top_k --> top_p --> min_p --> draw                   draw()
//
// Each filter sees what the one before it left, with probabilities that sum to one again.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// Added to one token's logit.
struct TokenBias {
  TokenId id = 0;
  float bias = 0;
};

/// The defaults choose greedily.
struct Sampling {
  double temperature = 0;  // divides the logits; 0: the best token is taken
  std::int64_t top_k = 0;  // best tokens that stay; 0: all
  double top_p = 1;        // fewest best tokens that hold this probability stay
  double min_p = 0;        // tokens less probable than this share of the best one's leave
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::vector<TokenBias> bias;
  std::int64_t min_tokens = 0;  // written before one of `stops` may be
  std::vector<TokenId> stops;   // end the answer
  std::int64_t seed = 0;
  std::uint32_t choice = 0;  // which of several answers to one prompt

  bool draws() const { return temperature > 0; }
  /// Whether it matters which tokens came before.
  bool looks_back() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
  bool adjusts() const { return looks_back() || !bias.empty() || min_tokens > 0; }
};

/// How often each token was written; tokens that only the prompt has are there with 0.
using TokenCounts = std::map<TokenId, std::int64_t>;

}  // namespace longspan

#include "runtime/model/logit_adjustments.h"

#include <limits>

namespace longspan {
namespace {

/// Makes tokens of the prompt and of the answer less likely whichever sign their logit has (Keskar
/// et al., arXiv 1909.05858, as transformers' RepetitionPenaltyLogitsProcessor has it).
float repeated(float logit, double penalty) {
  return static_cast<float>(logit < 0 ? logit * penalty : logit / penalty);
}

/// As OpenAI's API defines the two: once for being there, and for every time; the answer's tokens
/// only.
float written_before(float logit, const Sampling& sampling, std::int64_t times) {
  if (times == 0) return logit;
  return static_cast<float>(logit - sampling.presence_penalty -
                            sampling.frequency_penalty * static_cast<double>(times));
}

}  // namespace

void adjust_logits(std::span<float> logits, const Sampling& sampling, const TokenCounts& history,
                   std::int64_t written) {
  for (const TokenBias& bias : sampling.bias) logits[bias.id] += bias.bias;
  if (sampling.looks_back()) {
    for (const auto& [id, times] : history) {
      logits[id] =
          written_before(repeated(logits[id], sampling.repetition_penalty), sampling, times);
    }
  }
  if (written >= sampling.min_tokens) return;
  for (TokenId id : sampling.stops) logits[id] = -std::numeric_limits<float>::infinity();
}

}  // namespace longspan

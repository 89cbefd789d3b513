// What became of one prompt: its tokens, their probabilities, and how long it took.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model/sampler.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

struct Answer {
  std::vector<TokenId> prompt;
  std::int64_t kept = 0;                 // leading tokens of it that were not read: keys were there
  std::int64_t read = 0;                 // the others, as far as that came
  std::vector<Scored> tokens;            // without the token that stopped it
  bool stopped = false;                  // by the model or a stop, not by --max-tokens
  std::optional<TokenId> stop_id;        // the token that stopped it, if one did
  std::optional<std::string> stop_text;  // the text that did
  double last_margin = 1;                // of the last draw, the token that stopped it included
  bool complete = false;                 // not cut off by a signal
  std::string text;
  // How the prompt was read: the strategies of its chunks in order ("ring", "gather-q, ring"), why
  // the last was taken, and what they were predicted to take in all layers together, seconds.
  std::string strategy;
  std::string strategy_reason;
  double predicted_s = 0;
  std::optional<double> nll_sum;  // of the prompt, nats

  // Seconds since weights and prompts were there; sampled tokens count the one that stopped it.
  double prefill_start = 0;
  double first_token = 0;
  double last_token = 0;
  std::int64_t sampled = 0;

  double prefill_s() const { return sampled > 0 ? first_token - prefill_start : 0; }
  double decode_s() const { return last_token - first_token; }
  double prefill_tokens_per_s() const {
    return prefill_s() > 0 ? static_cast<double>(read) / prefill_s() : 0;
  }
  double decode_tokens_per_s() const {
    return decode_s() > 0 ? static_cast<double>(sampled - 1) / decode_s() : 0;
  }
  /// Mean over prompt[1:]; 0 for one token; nothing when it was not asked for.
  std::optional<double> prompt_nll() const {
    if (!nll_sum) return std::nullopt;
    return prompt.size() > 1 ? *nll_sum / static_cast<double>(prompt.size() - 1) : 0.0;
  }
};

/// How many answers there are up to the last of which anything was written.
inline std::size_t begun(std::span<const Answer> answers) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].sampled > 0) count = i + 1;
  }
  return count;
}

}  // namespace longspan

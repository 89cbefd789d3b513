// What the command line was asked about choosing tokens, and what it comes to for a model.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model/generation_config.h"
#include "runtime/model/sampling.h"

namespace longspan {

/// Absent: the model's default, or none.
struct SamplingOptions {
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;  // -1 and 0: all
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::vector<TokenBias> bias;
  std::optional<std::int64_t> seed;  // absent: another one each time
  std::int64_t min_tokens = 0;
  std::vector<std::string> stop_texts;
  std::vector<TokenId> stop_ids;
  bool uses_model_defaults = true;  // --generation-config model
};

/// One text, or the texts of a JSON array of strings: how --stop is written. Throws UsageError,
/// naming `name`, when there are too many, or one is empty, too long or not UTF-8.
std::vector<std::string> stop_texts(const std::string& name, const std::string& value);
/// "ID:BIAS,ID:BIAS". Throws UsageError.
std::vector<TokenBias> token_biases(const std::string& name, const std::string& value);

/// The command line goes before `defaults`, and those before no sampling at all. Without a
/// temperature of its own a command line that names a filter or a seed draws at the model's
/// temperature, or 1. The answer ends at --stop-ids and, unless `ignore_eos`, at `ends`, the
/// tokenizer's, and at those of `defaults`. Throws UsageError where an id or top_k is outside the
/// vocabulary.
Sampling resolved(const SamplingOptions& options, const GenerationConfig& defaults,
                  std::span<const TokenId> ends, bool ignore_eos, std::int64_t vocabulary);

}  // namespace longspan

#include "launch/sampling_options.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <random>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/sampling_ranges.h"
#include "runtime/model/utf8.h"

namespace longspan {
namespace {

/// Whether all of `text` is a number, which goes to `number`.
template <typename Number>
bool spells(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// "ID:BIAS"
std::optional<TokenBias> token_bias(std::string_view text) {
  const std::size_t colon = text.find(':');
  TokenBias bias;
  if (colon == std::string::npos || !spells(text.substr(0, colon), bias.id)) return std::nullopt;
  if (!spells(text.substr(colon + 1), bias.bias)) return std::nullopt;
  if (bias.id < 0 || !kBiases.holds(bias.bias)) return std::nullopt;
  return bias;
}

/// The array that `value` is, if it is one of strings and nothing else.
std::optional<std::vector<std::string>> array_of_strings(const std::string& value) {
  const auto array = nlohmann::json::parse(value, nullptr, false);
  const auto is_string = [](const nlohmann::json& one) { return one.is_string(); };
  if (!array.is_array() || !std::ranges::all_of(array, is_string)) return std::nullopt;
  return array.get<std::vector<std::string>>();
}

/// Without one, a seed that nobody gave: an answer says which it was.
std::int64_t fresh_seed() {
  std::random_device device;
  return static_cast<std::int64_t>((std::uint64_t{device()} << 32 | device()) >> 1);
}

/// Somebody who names a filter or a seed wants to draw.
bool asks_to_draw(const SamplingOptions& options) {
  return options.top_k || options.top_p || options.min_p || options.seed;
}

double temperature(const SamplingOptions& options, const GenerationConfig& defaults) {
  if (options.temperature) return *options.temperature;
  if (defaults.do_sample || asks_to_draw(options)) return defaults.temperature.value_or(1);
  return 0;
}

std::vector<TokenId> stops(const SamplingOptions& options, const GenerationConfig& defaults,
                           std::span<const TokenId> ends, bool ignore_eos,
                           std::int64_t vocabulary) {
  std::vector<TokenId> ids = options.stop_ids;
  if (!ignore_eos) {
    ids.insert(ids.end(), ends.begin(), ends.end());
    ids.insert(ids.end(), defaults.end_of_text.begin(), defaults.end_of_text.end());
  }
  // What a model names beyond its vocabulary never comes; what a person names there was refused.
  std::erase_if(ids, [&](TokenId id) { return id >= vocabulary; });
  std::ranges::sort(ids);
  ids.erase(std::ranges::unique(ids).begin(), ids.end());
  return ids;
}

void expect_in_vocabulary(const SamplingOptions& options, std::int64_t vocabulary) {
  const auto expect_id = [&](const char* flag, TokenId id) {
    if (id < vocabulary) return;
    throw UsageError(
        str("{} names token {}, but the vocabulary ends at {}", flag, id, vocabulary - 1));
  };
  for (TokenId id : options.stop_ids) expect_id("--stop-ids", id);
  for (const TokenBias& bias : options.bias) expect_id("--logit-bias", bias.id);
  if (options.top_k.value_or(0) > vocabulary) {
    throw UsageError(
        str("--top-k must be from 1 to the {} tokens of the vocabulary, or 0 for all, "
            "not {}",
            vocabulary, *options.top_k));
  }
}

}  // namespace

std::vector<std::string> stop_texts(const std::string& name, const std::string& value) {
  std::vector<std::string> texts = array_of_strings(value).value_or(std::vector{value});
  if (texts.size() > kMostStopTexts) {
    throw UsageError(str("{} names {} texts; {} are the most", name, texts.size(), kMostStopTexts));
  }
  for (const std::string& text : texts) {
    if (text.empty() || text.size() > kMostStopTextBytes) {
      throw UsageError(str("{} must be texts of 1 to {} bytes, not one of {}", name,
                           kMostStopTextBytes, text.size()));
    }
    if (find_invalid_utf8(text) != std::string::npos) {
      throw UsageError(str("{} must be UTF-8", name));
    }
  }
  return texts;
}

std::vector<TokenBias> token_biases(const std::string& name, const std::string& value) {
  std::vector<TokenBias> biases;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t comma = std::min(value.find(',', begin), value.size());
    const auto bias = token_bias(std::string_view(value).substr(begin, comma - begin));
    if (!bias) {
      throw UsageError(str("{} must be ID:BIAS,ID:BIAS,... with token ids and {}, not '{}'", name,
                           kBiases.text(), value.substr(0, 80)));
    }
    biases.push_back(*bias);
    begin = comma + 1;
  }
  if (biases.size() > kMostBiases) {
    throw UsageError(str("{} names {} tokens; {} are the most", name, biases.size(), kMostBiases));
  }
  return biases;
}

Sampling resolved(const SamplingOptions& options, const GenerationConfig& defaults,
                  std::span<const TokenId> ends, bool ignore_eos, std::int64_t vocabulary) {
  expect_in_vocabulary(options, vocabulary);
  Sampling sampling{.temperature = temperature(options, defaults),
                    .top_k = options.top_k.value_or(defaults.top_k.value_or(0)),
                    .top_p = options.top_p.value_or(defaults.top_p.value_or(1)),
                    .min_p = options.min_p.value_or(defaults.min_p.value_or(0)),
                    .repetition_penalty = options.repetition_penalty.value_or(
                        defaults.repetition_penalty.value_or(1)),
                    .presence_penalty = options.presence_penalty,
                    .frequency_penalty = options.frequency_penalty,
                    .bias = options.bias,
                    .min_tokens = options.min_tokens,
                    .stops = stops(options, defaults, ends, ignore_eos, vocabulary)};
  // A model's filter may be wider than its vocabulary; a person's is a mistake.
  if (!options.top_k) sampling.top_k = std::min(sampling.top_k, vocabulary);
  sampling.top_k = std::max<std::int64_t>(sampling.top_k, 0);
  if (sampling.draws()) sampling.seed = options.seed ? *options.seed : fresh_seed();
  return sampling;
}

}  // namespace longspan

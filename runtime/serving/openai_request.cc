#include "runtime/serving/openai_request.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/model/sampling_ranges.h"
#include "runtime/serving/api_error.h"
#include "runtime/serving/request_fields.h"
#include "runtime/serving/request_prompt.h"
#include "runtime/serving/unsupported_fields.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr WholeRange kAnswers{1, 16};
constexpr WholeRange kAlternatives{0, 20};
constexpr WholeRange kTokenCounts{1, std::numeric_limits<std::int32_t>::max()};

std::vector<std::string> stop_texts_of(const json& value) {
  const json list = value.is_array() ? value : json::array({value});
  if (list.size() > kMostStopTexts) {
    throw invalid_value("stop",
                        str("stop has {} texts; {} are the most", list.size(), kMostStopTexts));
  }
  std::vector<std::string> texts;
  for (const json& one : list) {
    const std::size_t bytes = one.is_string() ? one.get_ref<const std::string&>().size() : 0;
    if (bytes == 0 || bytes > kMostStopTextBytes) {
      throw invalid_value("stop", str("stop must be a text of 1 to {} bytes, or an array of such",
                                      kMostStopTextBytes));
    }
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

std::vector<TokenId> stop_ids_of(const json& value, std::int64_t vocabulary) {
  if (!value.is_array() || value.size() > kMostStopIds) {
    throw invalid_value("stop_token_ids",
                        str("stop_token_ids must be an array of up to {} ids", kMostStopIds));
  }
  return read_token_ids(value, "stop_token_ids", vocabulary);
}

/// {"token id": bias}
std::vector<TokenBias> biases_of(const json& value, std::int64_t vocabulary) {
  if (!value.is_object() || value.size() > kMostBiases) {
    throw invalid_value("logit_bias",
                        str("logit_bias must be an object of up to {} ids", kMostBiases));
  }
  std::vector<TokenBias> biases;
  for (const auto& [key, bias] : value.items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const bool is_id =
        error == std::errc() && end == key.data() + key.size() && id >= 0 && id < vocabulary;
    if (!is_id || !bias.is_number() || !kBiases.holds(bias.get<double>())) {
      throw invalid_value("logit_bias", str("logit_bias must give token ids from 0 to {} {}",
                                            vocabulary - 1, kBiases.text()));
    }
    biases.push_back({id, bias.get<float>()});
  }
  return biases;
}

RequestedSampling sampling_of(RequestFields& fields, std::int64_t vocabulary) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  RequestedSampling sampling{
      .temperature = fields.number("temperature", kTemperatures),
      .top_k = fields.whole_number("top_k", {-1, vocabulary}),
      .top_p = fields.number("top_p", kTopPs),
      .min_p = fields.number("min_p", kMinPs),
      .repetition_penalty = fields.number("repetition_penalty", kRepetitionPenalties),
      .presence_penalty = fields.number("presence_penalty", kPenalties),
      .frequency_penalty = fields.number("frequency_penalty", kPenalties),
      .seed = fields.whole_number("seed", {std::numeric_limits<std::int64_t>::min(), kMost}),
      .min_tokens = fields.whole_number("min_tokens", {0, kTokenCounts.most}),
      .ignore_eos = fields.flag("ignore_eos")};
  if (sampling.top_k == -1) sampling.top_k = 0;
  if (const json* bias = fields.find("logit_bias")) sampling.bias = biases_of(*bias, vocabulary);
  if (const json* stop = fields.find("stop")) sampling.stop_texts = stop_texts_of(*stop);
  if (const json* ids = fields.find("stop_token_ids")) {
    sampling.stop_ids = stop_ids_of(*ids, vocabulary);
  }
  return sampling;
}

std::optional<std::int64_t> max_tokens_of(RequestFields& fields) {
  const auto older = fields.whole_number("max_tokens", kTokenCounts);
  const auto newer = fields.whole_number("max_completion_tokens", kTokenCounts);
  if (older && newer && *older != *newer) {
    throw invalid_value("max_completion_tokens",
                        str("max_tokens is {} and max_completion_tokens is {}; they are one limit, "
                            "give one",
                            *older, *newer));
  }
  return newer ? newer : older;
}

/// logprobs is a switch in a chat, with a number of its own; else it is the number.
void read_logprobs(RequestFields& fields, CompletionRequest& request) {
  if (request.endpoint == Endpoint::kCompletions) {
    const auto best = fields.whole_number("logprobs", kAlternatives);
    request.logprobs = best.has_value();
    request.top_logprobs = static_cast<int>(best.value_or(0));
    return;
  }
  request.logprobs = fields.flag("logprobs").value_or(false);
  request.top_logprobs =
      static_cast<int>(fields.whole_number("top_logprobs", kAlternatives).value_or(0));
  if (request.top_logprobs > 0 && !request.logprobs) {
    throw invalid_value("top_logprobs", "top_logprobs needs logprobs; add \"logprobs\": true");
  }
}

}  // namespace

Endpoint endpoint_of(const std::string& url) {
  if (url == "/v1/completions") return Endpoint::kCompletions;
  if (url == "/v1/chat/completions") return Endpoint::kChatCompletions;
  const bool embeds = url == "/v1/embeddings";
  throw ApiRefusal({.status = 404,
                    .type = "not_found_error",
                    .code = "not_found",
                    .message = str("{} is not there; use /v1/chat/completions or /v1/completions",
                                   embeds ? "/v1/embeddings (a model of embeddings)" : "the url"),
                    .param = "url"});
}

CompletionRequest read_completion_request(Endpoint endpoint, const json& body,
                                          std::int64_t vocabulary) {
  RequestFields fields(body, "");
  CompletionRequest request{.endpoint = endpoint, .model = fields.text("model")};
  refuse_unsupported(fields, endpoint);
  if (endpoint == Endpoint::kChatCompletions) {
    request.messages = read_messages(fields);
  } else {
    request.prompts = read_prompts(fields, vocabulary);
  }
  request.max_tokens = max_tokens_of(fields);
  request.n = static_cast<int>(fields.whole_number("n", kAnswers).value_or(1));
  read_logprobs(fields, request);
  request.stream = fields.flag("stream").value_or(false);
  request.cache_salt = fields.text("cache_salt").value_or("");
  request.user = fields.text("user").value_or("");
  request.sampling = sampling_of(fields, vocabulary);
  request.unknown = fields.unknown();
  if (request.choices() > kMostChoices) {
    throw invalid_value("n", str("n answers to each of {} prompts are {}; {} are the most",
                                 request.prompts.size(), request.choices(), kMostChoices));
  }
  return request;
}

}  // namespace longspan

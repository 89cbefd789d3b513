#include "runtime/serving/openai_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/model/sampling_ranges.h"
#include "runtime/serving/api_error.h"
#include "runtime/serving/request_fields.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr WholeRange kAnswers{1, 16};
constexpr WholeRange kAlternatives{0, 20};
constexpr WholeRange kTokenCounts{1, std::numeric_limits<std::int32_t>::max()};
constexpr std::size_t kMostMessages = 4096;  // and parts of one

/// A field of the API that is not done, and the values of it that change nothing.
struct NotDone {
  std::string_view name;
  std::string_view neutral;  // JSON values with a bar between them; empty: none
  std::string_view instead;  // what to do
};

constexpr std::string_view kLeaveOut = "leave it out";

constexpr auto kNotDone = std::to_array<NotDone>({
    {"tools", "[]", kLeaveOut},
    {"tool_choice", "\"none\"|\"auto\"", kLeaveOut},
    {"functions", "[]", kLeaveOut},
    {"function_call", "\"none\"|\"auto\"", kLeaveOut},
    {"response_format", R"({"type":"text"})", "leave it out, or ask for {\"type\": \"text\"}"},
    {"audio", "", kLeaveOut},
    {"modalities", "[\"text\"]", "ask for [\"text\"]"},
    {"prediction", "", kLeaveOut},
    {"best_of", "1", "ask for n answers instead"},
    {"suffix", "\"\"", kLeaveOut},
    {"echo", "false", "put the prompt before the answer yourself"},
    {"use_beam_search", "false", kLeaveOut},
    {"prompt_logprobs", "0", "longspan generate --prompt-nll tells how likely a prompt is"},
    {"return_token_ids", "false", "longspan generate --json prints ids"},
    {"truncate_prompt_tokens", "", "shorten the prompt: nothing is cut silently"},
    {"include_stop_str_in_output", "false", kLeaveOut},
    {"skip_special_tokens", "false", "special tokens that are no end of text are written out"},
    {"chat_template", "", "the model's own template is used"},
    {"chat_template_kwargs", "{}", "the model's own template is used"},
    {"add_generation_prompt", "true", kLeaveOut},
    {"continue_final_message", "false", kLeaveOut},
    {"guided_json", "", kLeaveOut},
    {"guided_regex", "", kLeaveOut},
    {"guided_choice", "", kLeaveOut},
    {"guided_grammar", "", kLeaveOut},
    {"structured_outputs", "", kLeaveOut},
    {"lora", "", "LoRA adapters are not there; merge it into a model and name that"},
    {"lora_name", "", "LoRA adapters are not there; merge it into a model and name that"},
    {"lora_path", "", "LoRA adapters are not there; merge it into a model and name that"},
    {"lora_request", "", "LoRA adapters are not there; merge it into a model and name that"},
});

/// Fields that may say anything: they change no answer.
constexpr auto kPassedOver = std::to_array<std::string_view>(
    {"user", "metadata", "store", "service_tier", "stream_options", "parallel_tool_calls",
     "request_id", "priority", "cache_salt", "timeout_s", "return_progress", "sse_ping_interval",
     "safety_identifier", "prompt_cache_key"});

bool is_neutral(const json& value, std::string_view neutral) {
  while (!neutral.empty()) {
    const std::size_t bar = std::min(neutral.find('|'), neutral.size());
    if (value == json::parse(neutral.substr(0, bar))) return true;
    neutral.remove_prefix(std::min(bar + 1, neutral.size()));
  }
  return false;
}

void refuse_what_is_not_done(RequestFields& fields, Endpoint endpoint) {
  for (const NotDone& one : kNotDone) {
    const json* value = fields.find(one.name);
    if (!value || is_neutral(*value, one.neutral)) continue;
    throw unsupported_parameter(std::string(one.name),
                                str("{} is not supported; {}", one.name, one.instead));
  }
  const bool usual = endpoint == Endpoint::kCompletions;
  if (fields.flag("add_special_tokens").value_or(usual) != usual) {
    throw unsupported_parameter(
        "add_special_tokens",
        str("add_special_tokens is always {} here; send token ids to choose each", usual));
  }
  for (const std::string_view name : kPassedOver) fields.find(name);
}

TokenId token_id(const json& value, const std::string& param, std::int64_t vocabulary) {
  if (const auto id = whole_number_in(value, {0, vocabulary - 1})) {
    return static_cast<TokenId>(*id);
  }
  throw invalid_value(param,
                      str("{} must be a token id from 0 to {}, not {}", param, vocabulary - 1,
                          value.is_number() ? value.dump() : std::string(kind_of_value(value))));
}

std::vector<TokenId> token_ids(const json& array, const std::string& param,
                               std::int64_t vocabulary) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const json& value : array) {
    ids.push_back(token_id(value, str("{}[{}]", param, ids.size()), vocabulary));
  }
  return ids;
}

/// A string, or an array of ids.
CompletionPrompt prompt_of(const json& value, const std::string& param, std::int64_t vocabulary) {
  if (value.empty() || value == "") {
    throw invalid_value(param, str("{} is empty; give at least one token", param));
  }
  if (value.is_string()) return {.text = value.get<std::string>(), .ids = {}};
  if (value.is_array()) return {.text = {}, .ids = token_ids(value, param, vocabulary)};
  throw invalid_value(param, str("{} must be a string, token ids, or an array of either, not {}",
                                 param, kind_of_value(value)));
}

std::vector<CompletionPrompt> prompts_of(RequestFields& fields, std::int64_t vocabulary) {
  const json* value = fields.find("prompt");
  if (!value) throw invalid_value("prompt", "prompt is missing; give a string or token ids");
  const bool several = value->is_array() && !value->empty() &&
                       (value->front().is_string() || value->front().is_array());
  if (!several) return {prompt_of(*value, "prompt", vocabulary)};
  if (value->size() > kMostChoices) {
    throw invalid_value(
        "prompt", str("prompt has {} elements; {} are the most", value->size(), kMostChoices));
  }
  std::vector<CompletionPrompt> prompts;
  for (const json& one : *value) {
    prompts.push_back(prompt_of(one, str("prompt[{}]", prompts.size()), vocabulary));
  }
  return prompts;
}

/// The text of {"type": "text", "text": ...}.
std::string text_of_part(const json& part, const std::string& param) {
  RequestFields fields(part, param);
  const auto type = fields.text("type");
  if (type != "text") {
    throw unsupported_parameter(fields.param("type"),
                                str("{} is not \"text\"; this model reads text only, in parts like "
                                    "{{\"type\": \"text\", \"text\": \"...\"}}",
                                    fields.param("type")));
  }
  if (auto text = fields.text("text")) return *std::move(text);
  throw invalid_value(fields.param("text"), str("{} is missing", fields.param("text")));
}

std::string content_of(RequestFields& message) {
  const std::string param = message.param("content");
  const json* content = message.find("content");
  if (!content) throw invalid_value(param, str("{} is missing; give a string", param));
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    throw invalid_value(param, str("{} must be a string or an array of parts, not {}", param,
                                   kind_of_value(*content)));
  }
  if (content->size() > kMostMessages) {
    throw invalid_value(
        param, str("{} has {} parts; {} are the most", param, content->size(), kMostMessages));
  }
  std::string text;
  for (std::size_t i = 0; i < content->size(); ++i) {
    text += text_of_part((*content)[i], str("{}[{}]", param, i));
  }
  return text;
}

ChatMessage message_of(const json& value, const std::string& param) {
  RequestFields fields(value, param);
  for (const char* name : {"tool_calls", "function_call", "tool_call_id"}) {
    const json* given = fields.find(name);
    if (!given || given->empty()) continue;
    throw unsupported_parameter(
        fields.param(name),
        str("{} is not supported; send the text of messages only", fields.param(name)));
  }
  auto role = fields.text("role");
  if (!role || role->empty()) {
    throw invalid_value(fields.param("role"),
                        str("{} is missing; give system, user or assistant", fields.param("role")));
  }
  return {.role = *std::move(role), .content = content_of(fields)};
}

std::vector<ChatMessage> messages_of(RequestFields& fields) {
  const json* value = fields.find("messages");
  if (!value || !value->is_array() || value->empty()) {
    throw invalid_value("messages",
                        "messages must be an array of at least one {\"role\", \"content\"}");
  }
  if (value->size() > kMostMessages) {
    throw invalid_value(
        "messages", str("messages has {} elements; {} are the most", value->size(), kMostMessages));
  }
  std::vector<ChatMessage> messages;
  for (const json& one : *value) {
    messages.push_back(message_of(one, str("messages[{}]", messages.size())));
  }
  return messages;
}

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
  return token_ids(value, "stop_token_ids", vocabulary);
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
  refuse_what_is_not_done(fields, endpoint);
  if (endpoint == Endpoint::kChatCompletions) {
    request.messages = messages_of(fields);
  } else {
    request.prompts = prompts_of(fields, vocabulary);
  }
  request.max_tokens = max_tokens_of(fields);
  request.n = static_cast<int>(fields.whole_number("n", kAnswers).value_or(1));
  read_logprobs(fields, request);
  request.stream = fields.flag("stream").value_or(false);
  request.sampling = sampling_of(fields, vocabulary);
  request.unknown = fields.unknown();
  if (request.choices() > kMostChoices) {
    throw invalid_value("n", str("n answers to each of {} prompts are {}; {} are the most",
                                 request.prompts.size(), request.choices(), kMostChoices));
  }
  return request;
}

}  // namespace longspan

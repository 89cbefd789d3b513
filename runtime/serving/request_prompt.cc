#include "runtime/serving/request_prompt.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/serving/api_error.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr std::size_t kMostMessages = 4096;  // and parts of one

TokenId token_id(const json& value, const std::string& param, std::int64_t vocabulary) {
  if (const auto id = whole_number_in(value, {0, vocabulary - 1})) {
    return static_cast<TokenId>(*id);
  }
  throw invalid_value(param,
                      str("{} must be a token id from 0 to {}, not {}", param, vocabulary - 1,
                          value.is_number() ? value.dump() : std::string(kind_of_value(value))));
}

/// A string, or an array of ids.
CompletionPrompt prompt_of(const json& value, const std::string& param, std::int64_t vocabulary) {
  if (value.empty() || value == "") {
    throw invalid_value(param, str("{} is empty; give at least one token", param));
  }
  if (value.is_string()) return {.text = value.get<std::string>(), .ids = {}};
  if (value.is_array()) return {.text = {}, .ids = read_token_ids(value, param, vocabulary)};
  throw invalid_value(param, str("{} must be a string, token ids, or an array of either, not {}",
                                 param, kind_of_value(value)));
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

}  // namespace

std::vector<TokenId> read_token_ids(const json& array, const std::string& param,
                                    std::int64_t vocabulary) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const json& value : array) {
    ids.push_back(token_id(value, str("{}[{}]", param, ids.size()), vocabulary));
  }
  return ids;
}

std::vector<CompletionPrompt> read_prompts(RequestFields& fields, std::int64_t vocabulary) {
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

std::vector<ChatMessage> read_messages(RequestFields& fields) {
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

}  // namespace longspan

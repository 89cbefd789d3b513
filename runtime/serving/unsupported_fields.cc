#include "runtime/serving/unsupported_fields.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "runtime/serving/api_error.h"

namespace longspan {
namespace {

using nlohmann::json;

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
    {"metadata", "store", "service_tier", "stream_options", "parallel_tool_calls", "request_id",
     "priority", "timeout_s", "return_progress", "sse_ping_interval", "safety_identifier",
     "prompt_cache_key"});

bool is_neutral(const json& value, std::string_view neutral) {
  while (!neutral.empty()) {
    const std::size_t bar = std::min(neutral.find('|'), neutral.size());
    if (value == json::parse(neutral.substr(0, bar))) return true;
    neutral.remove_prefix(std::min(bar + 1, neutral.size()));
  }
  return false;
}

}  // namespace

void refuse_unsupported(RequestFields& fields, Endpoint endpoint) {
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

}  // namespace longspan

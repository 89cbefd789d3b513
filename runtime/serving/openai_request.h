// A request to /v1/completions or /v1/chat/completions as plain values: what OpenAI's API and the
// fields that vLLM adds to it say, checked by type and range.
//
//   JSON --read_completion_request--> CompletionRequest --sampling_of (request_sampling.h)-->
//   Sampling
//
// What is not done here is refused and never half honoured; what nobody knows is listed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/model/sampling.h"

namespace longspan {

enum class Endpoint { kCompletions, kChatCompletions };

/// The endpoint of a path: "/v1/chat/completions". Throws ApiRefusal for another one.
Endpoint endpoint_of(const std::string& url);

/// A prompt of /v1/completions: text, or token ids that are taken as they are.
struct CompletionPrompt {
  std::string text;
  std::optional<std::vector<TokenId>> ids;
};

/// What a request says of sampling; absent: whatever the one who answers takes.
struct RequestedSampling {
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;  // 0: all
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<double> presence_penalty;
  std::optional<double> frequency_penalty;
  std::optional<std::vector<TokenBias>> bias;
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> min_tokens;
  std::optional<bool> ignore_eos;
  std::optional<std::vector<std::string>> stop_texts;
  std::optional<std::vector<TokenId>> stop_ids;
};

struct CompletionRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::optional<std::string> model;        // as the request names it
  std::vector<ChatMessage> messages;       // of a chat: one at least
  std::vector<CompletionPrompt> prompts;   // else: one at least, none of them empty
  std::optional<std::int64_t> max_tokens;  // absent: as many as there is room for
  int n = 1;                               // answers to each prompt
  bool logprobs = false;                   // of each token
  int top_logprobs = 0;                    // of the best ones besides
  bool stream = false;
  std::string cache_salt;  // prompts that begin alike are read once only where this is the same
  std::string user;        // on whose behalf: those with requests that wait take turns
  RequestedSampling sampling;
  std::vector<std::string> unknown;  // fields that nobody knows

  /// Answers to all prompts together.
  std::size_t choices() const {
    return (endpoint == Endpoint::kCompletions ? prompts.size() : 1) * static_cast<std::size_t>(n);
  }
};

inline constexpr std::size_t kMostChoices = 2048;  // of one request

/// `body`: the request's JSON. `vocabulary`: tokens of the model, which bounds ids. Throws
/// ApiRefusal.
CompletionRequest read_completion_request(Endpoint endpoint, const nlohmann::json& body,
                                          std::int64_t vocabulary);

}  // namespace longspan

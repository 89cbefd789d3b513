// The body of an answer to /v1/completions or /v1/chat/completions, not streamed.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/model/sampler.h"
#include "runtime/model/tokenizer.h"
#include "runtime/serving/openai_request.h"

namespace longspan {

/// One answer to one prompt.
struct CompletionChoice {
  std::string text;
  bool stopped = false;                  // by the model or a stop; else it reached its limit
  std::optional<TokenId> stop_id;        // the token that stopped it, if one did
  std::optional<std::string> stop_text;  // the text that did
  std::vector<Scored> tokens;            // without the token that stopped it
};

struct CompletionAnswer {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string id;            // "chatcmpl-7f3c"
  std::int64_t created = 0;  // seconds since 1970
  std::string model;
  std::string fingerprint;  // of what wrote it: "longspan-0.1.0-1a2b3c4"
  bool logprobs = false;
  std::vector<CompletionChoice> choices;  // prompts in order, each with its n answers
  std::int64_t prompt_tokens = 0;         // of each prompt once
  std::int64_t cached_tokens = 0;         // of those, the ones that another request had read
  std::int64_t completion_tokens = 0;     // sampled, those that stopped answers included
};

/// Borrows `tokenizer` for the call: tokens with log-probabilities are written out.
nlohmann::ordered_json completion_body(const CompletionAnswer& answer, const Tokenizer& tokenizer);

}  // namespace longspan

#include "launch/batch/batch_requests.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/serving/api_error.h"

namespace longspan {
namespace {

/// The words by which clients know a request that is too long.
ApiRefusal too_long(std::int64_t context, std::int64_t room, const std::string& details) {
  std::string message = str("This model's maximum context length is {} tokens", context);
  if (room < context) message += str(", and this run's memory holds {} of one request", room);
  message += ". However, " + details;
  if (room < context) message += ", or give the run more memory or ranks";
  return ApiRefusal({.code = "context_length_exceeded", .message = message});
}

}  // namespace

std::int64_t seed_of_line(std::int64_t seed, std::int64_t number) {
  // The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): neighbours have nothing in common.
  std::uint64_t x =
      static_cast<std::uint64_t>(seed) + static_cast<std::uint64_t>(number) * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return static_cast<std::int64_t>((x ^ x >> 31) >> 1);
}

BatchRequests::BatchRequests(BatchTerms terms, const std::string& model, const Tokenizer& tokenizer)
    : terms_(std::move(terms)), tokenizer_(tokenizer) {
  try {
    wording_.emplace(model, tokenizer);
  } catch (const DataError& error) {
    no_wording_ = error.what();
  }
}

void BatchRequests::expect_model(const CompletionRequest& request) const {
  if (!request.model) return;
  if (std::ranges::find(terms_.names, *request.model) != terms_.names.end()) return;
  throw ApiRefusal({.status = 404,
                    .type = "not_found_error",
                    .code = "model_not_found",
                    .message = str("the model is not there; leave model out, name it {}, or run "
                                   "with --served-model-name",
                                   fmt::join(terms_.names, " or ")),
                    .param = "model"});
}

std::vector<TokenId> BatchRequests::chat_prompt(const CompletionRequest& request) const {
  if (!wording_) {
    throw invalid_value("messages", str("{}; use /v1/completions", no_wording_));
  }
  std::string text;
  try {
    text = (*wording_)(request.messages);
  } catch (const DataError& error) {
    throw invalid_value("messages", error.what());
  }
  return tokenizer_.encode(text);
}

std::vector<std::vector<TokenId>> BatchRequests::prompts(const CompletionRequest& request) const {
  if (request.endpoint == Endpoint::kChatCompletions) return {chat_prompt(request)};
  std::vector<std::vector<TokenId>> list;
  for (const CompletionPrompt& prompt : request.prompts) {
    list.push_back(prompt.ids ? *prompt.ids : tokenizer_.encode(prompt.text));
  }
  return list;
}

std::int64_t BatchRequests::max_new(const CompletionRequest& request, std::int64_t prompt,
                                    std::int64_t room) const {
  if (prompt >= room) {
    throw too_long(terms_.context, room,
                   str("the prompt has {} tokens; shorten it to {} at most", prompt, room - 1));
  }
  const std::int64_t left = room - prompt;
  if (!request.max_tokens) return std::min(terms_.max_tokens.value_or(left), left);
  if (*request.max_tokens <= left) return *request.max_tokens;
  throw too_long(terms_.context, room,
                 str("you requested {} tokens ({} in the prompt, {} in the answer); lower "
                     "max_tokens to {}",
                     prompt + *request.max_tokens, prompt, *request.max_tokens, left));
}

std::vector<RecordedRequest> BatchRequests::answers(const CompletionRequest& request,
                                                    std::int64_t seed, std::int64_t room) const {
  expect_model(request);
  Sampling sampling = sampling_of(request.sampling, terms_.sampling, seed);
  std::vector<RecordedRequest> list;
  for (const std::vector<TokenId>& prompt : prompts(request)) {
    if (prompt.empty()) {
      throw invalid_value("prompt", "the prompt has no tokens; give at least one");
    }
    const std::int64_t most = max_new(request, std::ssize(prompt), room);
    if (sampling.min_tokens > most) {
      throw invalid_value("min_tokens", str("min_tokens is {}, but the answer has {} at most; "
                                            "lower it",
                                            sampling.min_tokens, most));
    }
    for (int choice = 0; choice < request.n; ++choice) {
      sampling.choice = static_cast<std::uint32_t>(choice);
      list.push_back(
          {.prompt = prompt,
           .sampling = sampling,
           .max_new = most,
           .names_limit = request.max_tokens || terms_.max_tokens,
           .stop_texts = request.sampling.stop_texts.value_or(terms_.sampling.stop_texts)});
    }
  }
  return list;
}

}  // namespace longspan

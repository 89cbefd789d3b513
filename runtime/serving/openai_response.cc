#include "runtime/serving/openai_response.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// A token alone; half a character becomes U+FFFD.
std::string written(const Tokenizer& tokenizer, TokenId id) {
  Detokenizer text(tokenizer, Detokenizer::Start::kContinuation);
  std::string whole = text.push(id);
  return whole + text.finish();
}

json score_of(const TokenScore& score, const Tokenizer& tokenizer) {
  json bytes = json::array();
  for (const char byte : tokenizer.bytes(score.id)) {
    bytes.push_back(static_cast<unsigned char>(byte));
  }
  return {{"token", written(tokenizer, score.id)}, {"logprob", score.logprob}, {"bytes", bytes}};
}

/// {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}
json chat_logprobs(const CompletionChoice& choice, const Tokenizer& tokenizer) {
  json content = json::array();
  for (const Scored& token : choice.tokens) {
    json one = score_of(token.chosen, tokenizer);
    json top = json::array();
    for (const TokenScore& other : token.top) top.push_back(score_of(other, tokenizer));
    one["top_logprobs"] = std::move(top);
    content.push_back(std::move(one));
  }
  return {{"content", std::move(content)}};
}

std::int64_t characters(const std::string& text) {
  return std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; });
}

/// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, an entry a token each.
json text_logprobs(const CompletionChoice& choice, const Tokenizer& tokenizer) {
  json tokens = json::array(), logprobs = json::array(), tops = json::array();
  json offsets = json::array();
  std::int64_t offset = 0;
  for (const Scored& token : choice.tokens) {
    const std::string text = written(tokenizer, token.chosen.id);
    json top = json::object();
    // Tokens that are written alike share a name: the likeliest has it.
    for (const TokenScore& other : token.top) {
      top.emplace(written(tokenizer, other.id), other.logprob);
    }
    tokens.push_back(text);
    logprobs.push_back(token.chosen.logprob);
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += characters(text);
  }
  return {{"tokens", tokens},
          {"token_logprobs", logprobs},
          {"top_logprobs", tops},
          {"text_offset", offsets}};
}

json stop_reason_of(const CompletionChoice& choice) {
  if (choice.stop_text) return *choice.stop_text;
  return choice.stop_id ? json(*choice.stop_id) : json(nullptr);
}

json choice_of(const CompletionAnswer& answer, std::size_t index, const Tokenizer& tokenizer) {
  const CompletionChoice& choice = answer.choices[index];
  const bool chat = answer.endpoint == Endpoint::kChatCompletions;
  json object{{"index", index}};
  if (chat) {
    object["message"] = {{"role", "assistant"}, {"content", choice.text}};
  } else {
    object["text"] = choice.text;
  }
  object["logprobs"] = nullptr;
  if (answer.logprobs) {
    object["logprobs"] = chat ? chat_logprobs(choice, tokenizer) : text_logprobs(choice, tokenizer);
  }
  object["finish_reason"] = choice.stopped ? "stop" : "length";
  object["stop_reason"] = stop_reason_of(choice);
  return object;
}

}  // namespace

json completion_body(const CompletionAnswer& answer, const Tokenizer& tokenizer) {
  json choices = json::array();
  for (std::size_t i = 0; i < answer.choices.size(); ++i) {
    choices.push_back(choice_of(answer, i, tokenizer));
  }
  const bool chat = answer.endpoint == Endpoint::kChatCompletions;
  return {{"id", answer.id},
          {"object", chat ? "chat.completion" : "text_completion"},
          {"created", answer.created},
          {"model", answer.model},
          {"choices", std::move(choices)},
          {"usage",
           {{"prompt_tokens", answer.prompt_tokens},
            {"completion_tokens", answer.completion_tokens},
            {"total_tokens", answer.prompt_tokens + answer.completion_tokens},
            {"prompt_tokens_details", {{"cached_tokens", answer.cached_tokens}}}}},
          {"system_fingerprint", answer.fingerprint}};
}

}  // namespace longspan

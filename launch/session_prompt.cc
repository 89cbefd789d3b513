#include "launch/session_prompt.h"

#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/chat_prompts.h"

namespace longspan {
namespace {

std::vector<TokenId> tokens_behind(const Prompt& prompt, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids = tokens_of(prompt, tokenizer, "the prompt");
  const std::vector<TokenId> begin = tokenizer.encode("");
  const auto common = std::ranges::mismatch(ids, begin);
  if (!prompt.ids && common.in2 == begin.end()) ids.erase(ids.begin(), common.in1);
  return ids;
}

std::vector<ChatMessage> with_message(const GenerateOptions& options,
                                      const std::optional<SessionIndex>& found, Prompt prompt) {
  if (prompt.ids) throw DataError("the prompt is token ids; --chat needs text");
  expect_utf8(prompt.text, "the prompt");
  std::vector<ChatMessage> messages;
  if (found) messages = found->messages;
  if (!found && options.chat.system) messages.push_back({"system", *options.chat.system});
  messages.push_back({"user", std::move(prompt.text)});
  return messages;
}

}  // namespace

SessionPrompt session_prompt(const GenerateOptions& options,
                             const std::optional<SessionIndex>& found, const Tokenizer& tokenizer) {
  std::optional<Prompt> prompt;
  if (!options.prompt.value.empty()) prompt = read_prompts(options.prompt).front();
  if (!prompt && (!found || options.chat.wraps)) {
    throw UsageError(str("no prompt: {}", found ? "a conversation goes on with a message"
                                                : "the session does not hold anything yet"));
  }
  SessionPrompt read;
  if (options.chat.wraps) {
    if (options.chat.system) expect_utf8(*options.chat.system, "--system");
    read.messages = with_message(options, found, std::move(*prompt));
    read.whole.text = ChatWording(options.model, tokenizer)(read.messages);
  } else if (!found) {
    read.whole = std::move(*prompt);
  } else {
    read.whole.ids = found->tokens;
    if (prompt) {
      const std::vector<TokenId> ids = tokens_behind(*prompt, tokenizer);
      read.whole.ids->insert(read.whole.ids->end(), ids.begin(), ids.end());
    }
  }
  return read;
}

}  // namespace longspan

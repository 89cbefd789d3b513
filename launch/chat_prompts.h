// Conversations in the words of the model's chat template, and prompts as their one message.
#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "launch/prompts.h"
#include "runtime/chat/chat_template.h"
#include "runtime/chat/chat_template_source.h"

namespace longspan {

/// A conversation in the words of `model`'s template. Beginning-of-text tokens that the tokenizer
/// puts before every text are left out where the template writes them too.
class ChatWording {
 public:
  /// Throws DataError when the model has no template, or one that is not well-formed.
  ChatWording(const std::string& model, const Tokenizer& tokenizer);

  /// Up to where the next answer begins. Throws DataError when the template refuses the
  /// conversation.
  std::string operator()(const std::vector<ChatMessage>& messages) const;

 private:
  ChatTemplateSource source_;
  ChatTemplate template_;
  std::string begin_;
  std::time_t now_;  // of the first message: a template that tells the time tells one time
};

/// Throws DataError, naming `which`, for text that is not UTF-8.
void expect_utf8(const std::string& text, const std::string& which);

/// Makes each prompt what `model`'s template writes for it, as ChatWording does. Throws DataError
/// when the model has no template, when that refuses the conversation, or a prompt is
/// token ids.
void wrap_in_chat(std::vector<Prompt>& prompts, const ChatOptions& options,
                  const std::string& model, const Tokenizer& tokenizer);

}  // namespace longspan

// A model's chat template: from messages to the text that the model was trained on.
//
// Templates are Jinja, run by an interpreter of our own for the part of the language that chat
// templates use; for that part the text is byte for byte that of jinja2 as Hugging Face
// transformers sets it up. README.md lists what is left out. A template is a stranger's program: it
// can do nothing but write text, and has a bound on its steps, its text and its depth.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "runtime/chat/template_syntax.h"
#include "runtime/chat/template_value.h"

namespace longspan {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class ChatTemplate {
 public:
  /// `where` names it in errors. Throws DataError with the line when it is not well-formed, uses
  /// what longspan does not have, or is longer than 1 MiB.
  ChatTemplate(std::string_view source, std::string where);

  /// `variables` are what the template knows besides its functions, raise_exception and
  /// strftime_now, which tells `now`. Throws DataError with the line and, where the template itself
  /// raises, its own message. May be called by several threads.
  std::string render(const TemplateDict& variables, std::time_t now) const;

 private:
  std::string where_;
  Statements statements_;
};

/// The variables that transformers gives a template for a conversation whose answer comes next:
/// messages, add_generation_prompt, and, as none, tools and documents. Add bos_token and eos_token.
TemplateDict chat_variables(const std::vector<ChatMessage>& messages);

}  // namespace longspan

#include "launch/chat_prompts.h"

#include <ctime>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/chat/chat_template.h"
#include "runtime/chat/chat_template_source.h"

namespace longspan {
namespace {

/// What the tokenizer puts before every text, as text.
std::string before_every_text(const Tokenizer& tokenizer) {
  return tokenizer.decode(tokenizer.encode(""));
}

TemplateDict variables_for(const std::string& prompt, const ChatOptions& options,
                           const ChatTemplateSource& source) {
  std::vector<ChatMessage> messages;
  if (options.system) messages.push_back({"system", *options.system});
  messages.push_back({"user", prompt});
  TemplateDict variables = chat_variables(messages);
  if (source.bos_token) variables.set("bos_token", *source.bos_token);
  if (source.eos_token) variables.set("eos_token", *source.eos_token);
  return variables;
}

void expect_utf8(const std::string& text, const std::string& which) {
  const std::size_t at = find_invalid_utf8(text);
  if (at != std::string::npos) throw DataError(str("{}: not UTF-8 at byte {}", which, at));
}

}  // namespace

void wrap_in_chat(std::vector<Prompt>& prompts, const ChatOptions& options,
                  const std::string& model, const Tokenizer& tokenizer) {
  const ChatTemplateSource source = chat_template_of(model);
  const ChatTemplate chat(source.text, source.where);
  const std::string begin = before_every_text(tokenizer);
  if (options.system) expect_utf8(*options.system, "--system");
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Prompt& prompt = prompts[i];
    const std::string which = prompts.size() > 1 ? str("prompt {}", i + 1) : "the prompt";
    if (prompt.ids) throw DataError(str("{} is token ids; --chat needs text", which));
    expect_utf8(prompt.text, which);
    prompt.text = chat.render(variables_for(prompt.text, options, source), std::time(nullptr));
    if (!begin.empty() && prompt.text.starts_with(begin)) prompt.text.erase(0, begin.size());
  }
}

}  // namespace longspan

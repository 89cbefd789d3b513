#include "launch/chat_prompts.h"

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// What the tokenizer puts before every text, as text.
std::string before_every_text(const Tokenizer& tokenizer) {
  return tokenizer.decode(tokenizer.encode(""));
}

}  // namespace

ChatWording::ChatWording(const std::string& model, const Tokenizer& tokenizer)
    : source_(chat_template_of(model)),
      template_(source_.text, source_.where),
      begin_(before_every_text(tokenizer)),
      now_(std::time(nullptr)) {}

std::string ChatWording::operator()(const std::vector<ChatMessage>& messages) const {
  TemplateDict variables = chat_variables(messages);
  if (source_.bos_token) variables.set("bos_token", *source_.bos_token);
  if (source_.eos_token) variables.set("eos_token", *source_.eos_token);
  std::string text = template_.render(variables, now_);
  if (!begin_.empty() && text.starts_with(begin_)) text.erase(0, begin_.size());
  return text;
}

void expect_utf8(const std::string& text, const std::string& which) {
  const std::size_t at = find_invalid_utf8(text);
  if (at != std::string::npos) throw DataError(str("{}: not UTF-8 at byte {}", which, at));
}

void wrap_in_chat(std::vector<Prompt>& prompts, const ChatOptions& options,
                  const std::string& model, const Tokenizer& tokenizer) {
  const ChatWording wording(model, tokenizer);
  if (options.system) expect_utf8(*options.system, "--system");
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Prompt& prompt = prompts[i];
    const std::string which = prompts.size() > 1 ? str("prompt {}", i + 1) : "the prompt";
    if (prompt.ids) throw DataError(str("{} is token ids; --chat needs text", which));
    expect_utf8(prompt.text, which);
    std::vector<ChatMessage> messages;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", prompt.text});
    prompt.text = wording(messages);
  }
}

}  // namespace longspan

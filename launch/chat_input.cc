#include "launch/chat_input.h"

#include <iostream>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/chat_prompts.h"
#include "launch/option_help.h"
#include "launch/progress.h"
#include "launch/prompts.h"

namespace longspan {
namespace {

void say(const std::string& text) { std::cerr << str("longspan: {}\n", text) << std::flush; }

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

}  // namespace

ChatRequest ChatInput::next() {
  while (const auto text = joined_lines()) {
    if (text->starts_with('/')) {
      if (auto request = command(*text)) return std::move(*request);
    } else if (!trimmed(*text).empty() || !documents_.empty()) {
      return message(trimmed(*text));
    }
  }
  return {.kind = ChatRequest::Kind::kLeave, .message = {}};
}

std::optional<std::string> ChatInput::next_line(const std::string& prompt) {
  if (prompts_) std::cerr << prompt << std::flush;
  return lines_.next();
}

std::optional<std::string> ChatInput::joined_lines() {
  std::optional<std::string> text = next_line("> ");
  while (text && text->ends_with('\\')) {
    text->back() = '\n';
    const auto more = next_line(". ");
    if (!more) break;
    *text += *more;
  }
  return text;
}

/// Nothing for a command that needs no answer, and for a line that is none.
std::optional<ChatRequest> ChatInput::command(const std::string& line) {
  const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
  const std::string word = line.substr(0, end), rest = trimmed(line.substr(end));
  const bool alone = rest.empty();
  if (word == "/file") {
    add_document(rest);
  } else if (word == "/quit" && alone) {
    return ChatRequest{.kind = ChatRequest::Kind::kLeave, .message = {}};
  } else if (word == "/reset" && alone) {
    documents_.clear();
    return ChatRequest{.kind = ChatRequest::Kind::kReset, .message = {}};
  } else if (word == "/save" && alone) {
    return ChatRequest{.kind = ChatRequest::Kind::kSave, .message = {}};
  } else if (word == "/fork" && !alone) {
    return ChatRequest{.kind = ChatRequest::Kind::kFork, .message = rest};
  } else if (word == "/fork") {
    say("/fork needs a name for the session that goes on from here: /fork NAME");
  } else if (word == "/help" && alone) {
    std::cerr << chat_commands() << std::flush;
  } else {
    say(
        str("there is no command {}; /help says what there is, and a message that begins with a "
            "slash needs a space before it",
            line));
  }
  return std::nullopt;
}

void ChatInput::add_document(const std::string& path) {
  if (path.empty() || path == "-") return say("/file needs the path of a file");
  try {
    const std::string text =
        read_prompts({.kind = PromptKind::kTextFile, .value = path}).front().text;
    expect_utf8(text, path);
    documents_ += text;
    if (!documents_.ends_with('\n')) documents_ += '\n';
    documents_ += '\n';
    say(str("{}: {} bytes go before your next message", path, with_thousands(std::ssize(text))));
  } catch (const Error& error) {
    say(error.what());  // the conversation goes on
  }
}

ChatRequest ChatInput::message(const std::string& text) {
  std::string whole = std::exchange(documents_, {}) + text;
  return {.kind = ChatRequest::Kind::kMessage, .message = std::move(whole)};
}

}  // namespace longspan

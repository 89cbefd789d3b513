// What a person says in a conversation: messages of one line or several, documents, commands.
#pragma once

#include <optional>
#include <string>

#include "launch/line_input.h"

namespace longspan {

struct ChatRequest {
  enum class Kind { kMessage, kReset, kSave, kFork, kLeave };
  Kind kind = Kind::kLeave;
  std::string message;  // of a fork: its name
};

class ChatInput {
 public:
  /// Borrows the lines. `prompts`: a person is told on standard error when to type.
  ChatInput(LineInput& lines, bool prompts) : lines_(lines), prompts_(prompts) {}

  /// Waits for the next request. Help, and what is wrong with a line, go to standard error.
  ChatRequest next();

 private:
  std::optional<std::string> next_line(const std::string& prompt);
  /// Lines up to one that no backslash ends.
  std::optional<std::string> joined_lines();
  std::optional<ChatRequest> command(const std::string& line);
  void add_document(const std::string& path);
  ChatRequest message(const std::string& text);

  LineInput& lines_;
  bool prompts_;
  std::string documents_;  // that go before the next message
};

}  // namespace longspan

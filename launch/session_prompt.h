// What `longspan generate --session` reads: what the session holds, and the prompt behind it.
#pragma once

#include <optional>
#include <vector>

#include "launch/options.h"
#include "launch/prompts.h"
#include "runtime/chat/chat_template.h"
#include "runtime/session/session_index.h"

namespace longspan {

struct SessionPrompt {
  Prompt whole;
  std::vector<ChatMessage> messages;  // with --chat: up to the one that is answered
};

/// `found`: what the file held. Without a prompt the text goes on where it ended. A prompt of text
/// has no beginning-of-text tokens where something comes before it. Throws UsageError where there
/// is nothing to read, and what reading and wrapping throw.
SessionPrompt session_prompt(const GenerateOptions& options,
                             const std::optional<SessionIndex>& found, const Tokenizer& tokenizer);

}  // namespace longspan

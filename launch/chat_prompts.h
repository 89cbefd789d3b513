// Prompts as the user's message of a conversation, in the words of the model's chat template.
#pragma once

#include <string>
#include <vector>

#include "launch/prompts.h"

namespace longspan {

/// Makes each prompt what `model`'s template writes for it. Beginning-of-text tokens that
/// `tokenizer` puts before every text are left out where the template writes them too. Throws
/// DataError when the model has no template, when that refuses the conversation, or a prompt is
/// token ids.
void wrap_in_chat(std::vector<Prompt>& prompts, const ChatOptions& options,
                  const std::string& model, const Tokenizer& tokenizer);

}  // namespace longspan

// Where prompts come from: the command line, a file, standard input, JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/options.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

/// Text, or token ids that are taken as they are.
struct Prompt {
  std::string text;
  std::optional<std::vector<TokenId>> ids;
};

/// Reads the prompts of `source`. Throws MissingInput, PermissionError, DataError or UsageError,
/// naming the file and, for JSON lines, the line.
std::vector<Prompt> read_prompts(const PromptSource& source);

/// A JSON array of token ids.
std::vector<TokenId> read_ids(const std::string& file);

/// The prompt's tokens, checked against the vocabulary. `which` names it in errors. Bytes for which
/// the model has no token are left out, with a warning in the log.
std::vector<TokenId> tokens_of(const Prompt& prompt, const Tokenizer& tokenizer,
                               const std::string& which);

}  // namespace longspan

// A tokenizer as Hugging Face's `tokenizers` writes it: tokenizer.json, with byte-pair encoding
// over bytes (Llama 3, Qwen 2, SmolLM2, Mistral's tekken) or characters (Llama 2, Mistral 1,
// Gemma).
#pragma once

#include <filesystem>
#include <optional>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// Reads `path` and, in the same folder if they exist, the ids that end a text:
/// tokenizer_config.json's `eos_token`, then those of folder_ends().
///
/// `embedding`: rows of the model's embedding, if known. No token may lie outside; rows without a
/// token stand for nothing and count in Tokenizer::vocabulary().
///
/// Throws MissingInput, PermissionError, IoError or DataError, which name file and key. A component
/// that is not known is refused by its name.
Tokenizer load_tokenizer_json(const std::filesystem::path& path,
                              std::optional<int> embedding = std::nullopt);

}  // namespace longspan

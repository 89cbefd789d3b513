// The tokenizer of a Hugging Face folder. The one place that knows how it is read.
#pragma once

#include <filesystem>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// One that knows ids only: it refuses text, and shows a token as its number. `vocabulary`: rows of
/// the model's embedding.
Tokenizer folder_tokenizer(const std::filesystem::path& folder, int vocabulary);

}  // namespace longspan

// The tokenizer of a Hugging Face folder.
#pragma once

#include <filesystem>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// From the folder's tokenizer.json. Without that file, one that knows ids only: it refuses text
/// with a UsageError that names the folder, and shows id 17 as "<17>". `vocabulary`: rows of the
/// model's embedding. Throws as load_tokenizer_json() does.
Tokenizer folder_tokenizer(const std::filesystem::path& folder, int vocabulary);

}  // namespace longspan

// The configuration of a Hugging Face folder, which needs no weights there.
#pragma once

#include <filesystem>

#include "runtime/model/model_config.h"

namespace longspan {

/// From its config.json. Throws MissingInput, IoError, or DataError naming the key.
ModelConfig read_folder_config(const std::filesystem::path& folder);

}  // namespace longspan

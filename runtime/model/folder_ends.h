// Which tokens end a text, as a model folder says it in ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// `eos_token_id`, an id or a list, of the folder's generation_config.json; of its config.json
/// where that file is missing, as transformers has it. Each once, in the file's order; none without
/// either.
///
/// Throws DataError, naming file and key, for an id of generation_config.json outside
/// [0, vocabulary). In config.json those are passed over: what a class of models has by default is
/// written there for every vocabulary.
std::vector<TokenId> folder_ends(const std::filesystem::path& folder, std::int64_t vocabulary);

}  // namespace longspan

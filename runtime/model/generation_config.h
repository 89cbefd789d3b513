// The defaults that a model's author gives for sampling: generation_config.json, as Hugging Face
// transformers writes it beside the weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/model/tokenizer.h"

namespace longspan {

/// What the file says; keys that it lacks, or that are null, are absent. Keys that longspan has no
/// use for are passed over.
struct GenerationConfig {
  bool do_sample = false;  // without it the author means the best token, whatever else is there
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::vector<TokenId> end_of_text;  // eos_token_id, one or a list
};

/// Throws IoError when the file cannot be read, and DataError naming file and key when it is not
/// JSON, or a value has another type or is out of range.
GenerationConfig read_generation_config(const std::string& file);

/// Of a model as a command names it: of a folder its generation_config.json, if there is one; a
/// GGUF file has none. Throws as read_generation_config().
GenerationConfig generation_config_of(const std::string& model);

}  // namespace longspan

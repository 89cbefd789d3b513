// The tensors a Llama model of a given shape has in a GGUF file.
#pragma once

#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"

namespace longspan {

/// Throws DataError unless the file holds exactly the tensors that `config` calls for, in the right
/// shapes. Names the tensor, the shape found and the one expected.
void check_llama_tensors(const GgufFile& file, const ModelConfig& config);

}  // namespace longspan

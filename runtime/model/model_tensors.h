// The tensors of a model of a given shape: what each is called in its file, and which rows it has.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/model/gguf.h"
#include "runtime/model/head_order.h"
#include "runtime/model/model_config.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

enum class TensorRole {
  kEmbedding,
  kOutputNorm,
  kOutput,
  // Of a layer:
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionPostNorm,
  kFfnNorm,
  kGate,
  kUp,
  kDown,
  kFfnPostNorm,
};

/// Rows of a tensor of the file: all of them, unless several roles share the tensor.
struct TensorRows {
  std::string tensor;
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t inputs = 0;  // values of a row; 0: the tensor has one dimension, `count` values
};

/// Where the weights of a role lie; `layer` matters for those of a layer. `config` is of a whole
/// model.
TensorRows tensor_rows(const ModelConfig& config, TensorRole role, int layer = 0);

/// The order of rows in the file's query and key heads.
HeadOrder head_order(const ModelConfig& config);

/// Of the table that tokens are looked up in. The file has been checked.
TensorType embedding_type(const TensorFile& file, const ModelConfig& config);

/// Throws DataError unless the file holds exactly the tensors that `config` calls for, in the right
/// shapes. Names the tensor, the shape found and the one expected.
void check_tensors(const TensorFile& file, const ModelConfig& config);

}  // namespace longspan

// The shape of a Llama-architecture model, as its file declares it.
#pragma once

#include <cstdint>
#include <string>

#include "attention/segment.h"
#include "runtime/model/layer_masks.h"

namespace longspan {

class GgufFile;

/// Which rank of an instance holds this part of the model (model_part.h). Alone: all of it.
struct ModelPart {
  int index = 0;
  int ranks = 1;

  friend bool operator==(const ModelPart&, const ModelPart&) = default;
};

/// Of a whole model, or of one rank's part of it: then heads and ffn are the part's.
struct ModelConfig {
  std::string name;          // the file's own, or its file name
  std::string architecture;  // "llama"
  int layers = 0;
  int hidden = 0;
  int ffn = 0;
  HeadShape heads{};
  int vocabulary = 0;
  std::int64_t context = 0;  // longest sequence, tokens
  double rope_base = 10000.0;
  float norm_epsilon = 1e-5f;
  bool tied_output = false;  // the output projection is the embedding
  LayerMasks masks{Mask::causal()};
  ModelPart part = {};

  int q_width() const { return heads.query_heads * heads.head_dim; }
  int kv_width() const { return heads.kv_heads * heads.head_dim; }
  /// Bytes of K and V of one token over all layers at float32.
  std::int64_t kv_bytes_per_token() const { return layers * heads.kv_values() * 4; }
};

/// What the file declares, once every number is in bounds and the file holds exactly the tensors
/// of a Llama model of that shape. Throws DataError naming the key or tensor: also for anything
/// that would change the mathematics and is not built (rope scaling, experts, biases, ...).
ModelConfig read_model_config(const GgufFile& file);

}  // namespace longspan

// The shape of a model, as its file declares it. A family of models differs from another in data:
// which norms, which biases, which activation, which mask and rotation of a layer.
#pragma once

#include <cstdint>
#include <string>

#include "attention/segment.h"
#include "runtime/model/layer_masks.h"
#include "runtime/model/rope_spec.h"

namespace longspan {

class GgufFile;
class ModelFolder;

/// Which rank of an instance holds this part of the model (model_part.h). Alone: all of it.
struct ModelPart {
  int index = 0;
  int ranks = 1;

  friend bool operator==(const ModelPart&, const ModelPart&) = default;
};

/// Of the gate of a feed-forward network.
enum class Activation { kSilu, kGeluTanh };

/// How a file keeps the weights.
struct WeightForm {
  bool hugging_face = false;      // the tensors' names; else those of GGUF
  bool interleaved_rope = false;  // the rows of Q and K are for RoPE on neighbouring dimensions
  bool fused_qkv = false;         // Q, K and V are one tensor, one below the other
  bool fused_gate_up = false;     // gate and up too
  float norm_offset = 0;          // what is added to the weights of norms
  float query_scale = 1;          // what the weights of query norms are multiplied by
};

/// Of a whole model, or of one rank's part of it: then heads and ffn are the part's.
struct ModelConfig {
  std::string name;          // the file's own, or its file name
  std::string architecture;  // "llama", "Qwen3ForCausalLM"
  int layers = 0;
  int hidden = 0;
  int ffn = 0;
  HeadShape heads{};
  int vocabulary = 0;
  std::int64_t context = 0;  // longest sequence, tokens
  LayerRopes ropes{RopeSpec{}};
  float norm_epsilon = 1e-5f;
  bool tied_output = false;  // the output projection is the embedding
  LayerMasks masks{Mask::causal()};
  Activation activation = Activation::kSilu;
  float embedding_scale = 1;  // of what is looked up, not of tied output weights
  bool qkv_bias = false;
  bool qk_norm = false;     // each query and key head is normed before it is turned
  bool post_norms = false;  // what attention and the feed-forward network add is normed
  WeightForm form = {};
  ModelPart part = {};

  int q_width() const { return heads.query_heads * heads.head_dim; }
  int kv_width() const { return heads.kv_heads * heads.head_dim; }
  /// Bytes of K and V of one token over all layers at float32.
  std::int64_t kv_bytes_per_token() const { return layers * heads.kv_values() * 4; }
};

/// What the file declares, once every number is in bounds and the file holds exactly the tensors
/// of a model of that shape. Throws DataError naming the key or tensor: also for anything that
/// would change the mathematics and is not built (experts, capped scores, ...).
ModelConfig read_model_config(const GgufFile& file);
/// The same of a Hugging Face folder, whose config.json is in the dialect of transformers 4 or 5.
ModelConfig read_model_config(const ModelFolder& folder);

}  // namespace longspan

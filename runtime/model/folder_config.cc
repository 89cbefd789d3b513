// The shape of a model in a Hugging Face folder, from its config.json. See model_config.h.
#include "runtime/model/folder_config.h"

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/folder_keys.h"
#include "runtime/model/folder_ropes.h"
#include "runtime/model/model_config.h"
#include "runtime/model/model_folder.h"
#include "runtime/model/model_tensors.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr int kWidest = 1 << 20;
constexpr int kMostLayers = 1024;
constexpr int kMostHeads = 1024;
constexpr std::int64_t kLongestContext = std::int64_t{1} << 31;

/// Which layers attend under the window, unless `layer_types` lists them.
enum class Sliding {
  kNever,
  kAll,       // whenever there is a window
  kIfUsed,    // layers from max_window_layers on, if use_sliding_window
  kPatterned  // all but every sliding_window_pattern-th
};

/// What an architecture's code does whatever its config.json says, and what it says by default.
struct Family {
  std::string_view architecture;
  Sliding sliding = Sliding::kNever;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool fused = false;
  bool gemma = false;  // scaled embedding, norms of 1 + w, norms behind, scores scaled by a key
  int head_dim = 0;    // 0: hidden / heads
  bool tied_output = false;
};

constexpr std::array kFamilies = std::to_array<Family>({
    {.architecture = "LlamaForCausalLM"},
    {.architecture = "MistralForCausalLM", .sliding = Sliding::kAll},
    {.architecture = "Qwen2ForCausalLM", .sliding = Sliding::kIfUsed, .qkv_bias = true},
    {.architecture = "Qwen3ForCausalLM",
     .sliding = Sliding::kIfUsed,
     .qk_norm = true,
     .head_dim = 128},
    {.architecture = "Gemma3ForCausalLM",
     .sliding = Sliding::kPatterned,
     .qk_norm = true,
     .gemma = true,
     .head_dim = 256,
     .tied_output = true},
    {.architecture = "Phi3ForCausalLM", .sliding = Sliding::kAll, .fused = true},
});

/// Keys that no forward pass reads: names, tokens, training, and how other programs run the model.
constexpr std::array kIrrelevant = std::to_array<std::string_view>({
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "layer_norm_eps",
    "max_window_layers",
    "model_type",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "sliding_window",
    "sliding_window_pattern",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "vocab_size",
});

/// Keys that switch on mathematics we do not build. All are off when false, null or missing.
struct Unbuilt {
  std::string_view key;
  std::string_view what;
};
constexpr std::array kUnbuilt = std::to_array<Unbuilt>({
    {"attention_bias", "a bias of the attention's projections"},
    {"attn_logit_softcapping", "capped attention scores"},
    {"final_logit_softcapping", "capped logits"},
    {"mlp_bias", "biases in the feed-forward network"},
    {"quantization_config", "quantised weights in a folder"},
    {"rope_interleaved", "interleaved rotary embeddings in a folder"},
    {"use_bidirectional_attention", "attention without a causal mask"},
});

const Family& find_family(FolderKeys& keys) {
  const auto list = keys.find("architectures");
  if (!list || list->elements() == 0) keys.fail("key architectures is missing");
  const std::string& name = list->element(0).text();
  std::string known;
  for (const Family& family : kFamilies) {
    if (family.architecture == name) return family;
    known += str("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  keys.fail(
      str("architecture '{}' is not built; longspan runs folders of {}", printable(name), known));
}

void refuse_unbuilt(FolderKeys& keys) {
  for (const Unbuilt& unbuilt : kUnbuilt) {
    const auto value = keys.find(unbuilt.key);
    if (!value || value->value() == false) continue;
    keys.fail(str("{} asks for {}, which longspan does not build", unbuilt.key, unbuilt.what));
  }
}

HeadShape read_heads(FolderKeys& keys, const Family& family, int hidden) {
  HeadShape heads{};
  heads.query_heads = static_cast<int>(keys.require_int("num_attention_heads", 1, kMostHeads));
  heads.kv_heads =
      static_cast<int>(keys.int_or("num_key_value_heads", heads.query_heads, 1, heads.query_heads));
  if (heads.query_heads % heads.kv_heads != 0) {
    keys.fail(str("num_key_value_heads is {}, which does not divide the {} query heads",
                  heads.kv_heads, heads.query_heads));
  }
  std::int64_t otherwise = family.head_dim;
  if (otherwise == 0 && hidden % heads.query_heads == 0) otherwise = hidden / heads.query_heads;
  const std::int64_t dim = keys.int_or("head_dim", otherwise, 1, kWidest);
  if (dim < 16 || dim > 256 || dim % 8 != 0) {
    keys.fail(str("heads have {} values; longspan builds multiples of 8 from 16 to 256", dim));
  }
  heads.head_dim = static_cast<int>(dim);
  return heads;
}

Activation read_activation(FolderKeys& keys) {
  auto value = keys.find("hidden_activation");
  const auto other = keys.find("hidden_act");
  if (!value) value = other;
  if (!value || value->text() == "silu") return Activation::kSilu;
  if (value->text() == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  value->fail(str("is '{}'; longspan builds silu and gelu_pytorch_tanh", printable(value->text())));
}

bool slides_by_default(FolderKeys& keys, const Family& family, int layer) {
  switch (family.sliding) {
    case Sliding::kNever:
      return false;
    case Sliding::kAll:
      return true;
    case Sliding::kIfUsed:
      return layer >= keys.int_or("max_window_layers", 28, 0, kMostLayers);
    case Sliding::kPatterned: {
      const std::int64_t pattern = keys.int_or("sliding_window_pattern", 6, 1, kMostLayers);
      return (layer + 1) % pattern != 0;
    }
  }
  return false;
}

bool slides(FolderKeys& keys, const Family& family, int layer) {
  const auto types = keys.find("layer_types");
  if (!types) return slides_by_default(keys, family, layer);
  const JsonView type = types->element(layer);
  if (type.text() == "sliding_attention") return true;
  if (type.text() == "full_attention") return false;
  type.fail(
      str("is '{}'; longspan builds full_attention and sliding_attention", printable(type.text())));
}

/// 0: there is none.
std::int64_t read_window(FolderKeys& keys, const Family& family) {
  const bool used = keys.flag_or("use_sliding_window", family.sliding != Sliding::kIfUsed);
  const std::int64_t window = keys.int_or("sliding_window", 0, 0, kLongestContext);
  return used ? window : 0;
}

void read_layers(FolderKeys& keys, const Family& family, ModelConfig& config) {
  const std::int64_t window = read_window(keys, family);
  const std::int64_t context = keys.require_int("max_position_embeddings", 1, kLongestContext);
  const FolderRopes ropes = read_folder_ropes(keys, config.heads.head_dim, context);
  const auto types = keys.find("layer_types");
  if (types && types->elements() != static_cast<std::size_t>(config.layers)) {
    types->fail(str("lists {} layers of {}", types->elements(), config.layers));
  }
  std::vector<Mask> masks;
  std::vector<RopeSpec> rules;
  for (int layer = 0; layer < config.layers; ++layer) {
    const bool sliding = window > 0 && slides(keys, family, layer);
    masks.push_back(sliding ? Mask::window(window) : Mask::causal());
    rules.push_back(sliding ? ropes.sliding : ropes.full);
  }
  config.masks = LayerMasks(masks);
  config.ropes = LayerRopes(rules);
  config.context = ropes.reach;
}

/// Attention divides scores by the square root of head_dim; Gemma may say of something else.
void read_gemma(FolderKeys& keys, ModelConfig& config) {
  const double scalar = keys.number_or("query_pre_attn_scalar", 256, 1, 1e6);
  config.form.query_scale = static_cast<float>(std::sqrt(config.heads.head_dim / scalar));
  config.form.norm_offset = 1;
  config.embedding_scale = static_cast<float>(std::sqrt(config.hidden));
  config.post_norms = true;
}

}  // namespace

ModelConfig read_folder_config(const std::filesystem::path& folder) {
  FolderKeys keys(folder / "config.json");
  const Family& family = find_family(keys);
  refuse_unbuilt(keys);
  ModelConfig config;
  config.name = folder.filename().string();
  if (config.name.empty()) config.name = folder.parent_path().filename().string();
  config.architecture = family.architecture;
  config.layers = static_cast<int>(keys.require_int("num_hidden_layers", 1, kMostLayers));
  config.hidden = static_cast<int>(keys.require_int("hidden_size", 1, kWidest));
  config.ffn = static_cast<int>(keys.require_int("intermediate_size", 1, kWidest));
  config.vocabulary = static_cast<int>(keys.require_int("vocab_size", 1, 1 << 24));
  config.heads = read_heads(keys, family, config.hidden);
  config.norm_epsilon = static_cast<float>(keys.number_or("rms_norm_eps", 1e-6, 0, 1));
  config.activation = read_activation(keys);
  config.tied_output = keys.flag_or("tie_word_embeddings", family.tied_output);
  config.qkv_bias = family.qkv_bias;
  config.qk_norm = family.qk_norm;
  config.form.hugging_face = true;
  config.form.fused_qkv = config.form.fused_gate_up = family.fused;
  read_layers(keys, family, config);
  if (family.gemma) read_gemma(keys, config);
  keys.ignore(kIrrelevant);
  keys.refuse_unread();
  return config;
}

ModelConfig read_model_config(const ModelFolder& folder) {
  ModelConfig config = read_folder_config(folder.path());
  check_tensors(folder, config);
  return config;
}

}  // namespace longspan

#include "runtime/model/model_tensors.h"

#include <fmt/ranges.h>

#include <map>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Shape = std::vector<std::int64_t>;
using Shapes = std::map<std::string, Shape, std::less<>>;

bool is_of_layer(TensorRole role) { return role >= TensorRole::kAttentionNorm; }

std::string_view gguf_name(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbedding:
      return "token_embd.weight";
    case TensorRole::kOutputNorm:
      return "output_norm.weight";
    case TensorRole::kOutput:
      return "output.weight";
    case TensorRole::kAttentionNorm:
      return "attn_norm.weight";
    case TensorRole::kQuery:
      return "attn_q.weight";
    case TensorRole::kKey:
      return "attn_k.weight";
    case TensorRole::kValue:
      return "attn_v.weight";
    case TensorRole::kQueryBias:
      return "attn_q.bias";
    case TensorRole::kKeyBias:
      return "attn_k.bias";
    case TensorRole::kValueBias:
      return "attn_v.bias";
    case TensorRole::kQueryNorm:
      return "attn_q_norm.weight";
    case TensorRole::kKeyNorm:
      return "attn_k_norm.weight";
    case TensorRole::kAttentionOutput:
      return "attn_output.weight";
    case TensorRole::kAttentionPostNorm:
      return "post_attention_norm.weight";
    case TensorRole::kFfnNorm:
      return "ffn_norm.weight";
    case TensorRole::kGate:
      return "ffn_gate.weight";
    case TensorRole::kUp:
      return "ffn_up.weight";
    case TensorRole::kDown:
      return "ffn_down.weight";
    case TensorRole::kFfnPostNorm:
      return "post_ffw_norm.weight";
  }
  return "";
}

/// Where norms follow what they norm, "post attention" is another one.
std::string_view hugging_face_ffn_norm(bool post_norms) {
  return post_norms ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight";
}

std::string_view hugging_face_name(const ModelConfig& config, TensorRole role) {
  const WeightForm& form = config.form;
  switch (role) {
    case TensorRole::kEmbedding:
      return "model.embed_tokens.weight";
    case TensorRole::kOutputNorm:
      return "model.norm.weight";
    case TensorRole::kOutput:
      return "lm_head.weight";
    case TensorRole::kAttentionNorm:
      return "input_layernorm.weight";
    case TensorRole::kQuery:
      return form.fused_qkv ? "self_attn.qkv_proj.weight" : "self_attn.q_proj.weight";
    case TensorRole::kKey:
      return form.fused_qkv ? "self_attn.qkv_proj.weight" : "self_attn.k_proj.weight";
    case TensorRole::kValue:
      return form.fused_qkv ? "self_attn.qkv_proj.weight" : "self_attn.v_proj.weight";
    case TensorRole::kQueryBias:
      return "self_attn.q_proj.bias";
    case TensorRole::kKeyBias:
      return "self_attn.k_proj.bias";
    case TensorRole::kValueBias:
      return "self_attn.v_proj.bias";
    case TensorRole::kQueryNorm:
      return "self_attn.q_norm.weight";
    case TensorRole::kKeyNorm:
      return "self_attn.k_norm.weight";
    case TensorRole::kAttentionOutput:
      return "self_attn.o_proj.weight";
    case TensorRole::kAttentionPostNorm:
      return "post_attention_layernorm.weight";
    case TensorRole::kFfnNorm:
      return hugging_face_ffn_norm(config.post_norms);
    case TensorRole::kGate:
      return form.fused_gate_up ? "mlp.gate_up_proj.weight" : "mlp.gate_proj.weight";
    case TensorRole::kUp:
      return form.fused_gate_up ? "mlp.gate_up_proj.weight" : "mlp.up_proj.weight";
    case TensorRole::kDown:
      return "mlp.down_proj.weight";
    case TensorRole::kFfnPostNorm:
      return "post_feedforward_layernorm.weight";
  }
  return "";
}

std::string full_name(const ModelConfig& config, TensorRole role, int layer) {
  if (config.form.hugging_face) {
    const std::string_view name = hugging_face_name(config, role);
    return is_of_layer(role) ? str("model.layers.{}.{}", layer, name) : std::string(name);
  }
  const std::string_view name = gguf_name(role);
  return is_of_layer(role) ? str("blk.{}.{}", layer, name) : std::string(name);
}

std::vector<TensorRole> roles_outside_layers(const ModelConfig& config) {
  std::vector<TensorRole> roles{TensorRole::kEmbedding, TensorRole::kOutputNorm};
  if (!config.tied_output) roles.push_back(TensorRole::kOutput);
  return roles;
}

std::vector<TensorRole> roles_of_layer(const ModelConfig& config) {
  std::vector<TensorRole> roles{TensorRole::kAttentionNorm,
                                TensorRole::kQuery,
                                TensorRole::kKey,
                                TensorRole::kValue,
                                TensorRole::kAttentionOutput,
                                TensorRole::kFfnNorm,
                                TensorRole::kGate,
                                TensorRole::kUp,
                                TensorRole::kDown};
  if (config.qkv_bias) {
    roles.insert(roles.end(),
                 {TensorRole::kQueryBias, TensorRole::kKeyBias, TensorRole::kValueBias});
  }
  if (config.qk_norm) roles.insert(roles.end(), {TensorRole::kQueryNorm, TensorRole::kKeyNorm});
  if (config.post_norms) {
    roles.insert(roles.end(), {TensorRole::kAttentionPostNorm, TensorRole::kFfnPostNorm});
  }
  return roles;
}

Shapes expected_shapes(const ModelConfig& config) {
  Shapes shapes;
  const auto expect = [&](TensorRole role, int layer) {
    const TensorRows rows = tensor_rows(config, role, layer);
    const auto [at, fresh] = shapes.try_emplace(rows.tensor, Shape{rows.count});
    if (!fresh) {
      at->second.front() += rows.count;
    } else if (rows.inputs > 0) {
      at->second.push_back(rows.inputs);
    }
  };
  for (const TensorRole role : roles_outside_layers(config)) expect(role, 0);
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const TensorRole role : roles_of_layer(config)) expect(role, layer);
  }
  return shapes;
}

/// What old writers add to a folder and nobody needs: the angles of RoPE, and an output that the
/// configuration says is the embedding.
bool is_superfluous(const ModelConfig& config, std::string_view tensor) {
  if (!config.form.hugging_face) return false;
  return tensor.ends_with(".rotary_emb.inv_freq") ||
         (config.tied_output && tensor == "lm_head.weight");
}

std::string text(const Shape& shape) { return str("({})", fmt::join(shape, ", ")); }

std::string why_unexpected(std::string_view tensor) {
  if (tensor.ends_with(".bias")) return "biases are not built there";
  if (tensor.starts_with("rope_f"))
    return "rotary embeddings with scaled frequencies are not built for GGUF files";
  return "a model of this architecture and shape has no such tensor";
}

}  // namespace

TensorRows tensor_rows(const ModelConfig& config, TensorRole role, int layer) {
  const std::int64_t hidden = config.hidden, ffn = config.ffn;
  const std::int64_t q = config.q_width(), kv = config.kv_width();
  const std::int64_t kv_first = config.form.fused_qkv ? q : 0;
  const std::string name = full_name(config, role, layer);
  switch (role) {
    case TensorRole::kEmbedding:
    case TensorRole::kOutput:
      return {name, 0, config.vocabulary, hidden};
    case TensorRole::kOutputNorm:
    case TensorRole::kAttentionNorm:
    case TensorRole::kAttentionPostNorm:
    case TensorRole::kFfnNorm:
    case TensorRole::kFfnPostNorm:
      return {name, 0, hidden, 0};
    case TensorRole::kQuery:
      return {name, 0, q, hidden};
    case TensorRole::kKey:
      return {name, kv_first, kv, hidden};
    case TensorRole::kValue:
      return {name, kv_first > 0 ? kv_first + kv : 0, kv, hidden};
    case TensorRole::kQueryBias:
      return {name, 0, q, 0};
    case TensorRole::kKeyBias:
    case TensorRole::kValueBias:
      return {name, 0, kv, 0};
    case TensorRole::kQueryNorm:
    case TensorRole::kKeyNorm:
      return {name, 0, config.heads.head_dim, 0};
    case TensorRole::kAttentionOutput:
      return {name, 0, hidden, q};
    case TensorRole::kGate:
      return {name, 0, ffn, hidden};
    case TensorRole::kUp:
      return {name, config.form.fused_gate_up ? ffn : 0, ffn, hidden};
    case TensorRole::kDown:
      return {name, 0, hidden, ffn};
  }
  return {};
}

HeadOrder head_order(const ModelConfig& config) {
  const int rotated = config.ropes.distinct().front().rotated;
  return {.head_dim = config.heads.head_dim,
          .rotated = rotated > 0 ? rotated : config.heads.head_dim,
          .interleaved = config.form.interleaved_rope};
}

TensorType embedding_type(const TensorFile& file, const ModelConfig& config) {
  return file.find(tensor_rows(config, TensorRole::kEmbedding).tensor)->type;
}

void check_tensors(const TensorFile& file, const ModelConfig& config) {
  Shapes missing = expected_shapes(config);
  const auto fail = [&](const std::string& problem) {
    throw DataError(str("{}: {}", file.path().string(), problem));
  };
  for (const TensorInfo& tensor : file.tensors()) {
    if (is_superfluous(config, tensor.name)) continue;
    const auto expected = missing.find(tensor.name);
    if (expected == missing.end()) {
      fail(str("tensor {} is unexpected: {}", tensor.name, why_unexpected(tensor.name)));
    }
    if (expected->second != tensor.shape) {
      fail(str("tensor {} has shape {}; expected {}", tensor.name, text(tensor.shape),
               text(expected->second)));
    }
    missing.erase(expected);
  }
  if (missing.empty()) return;
  const auto& [name, shape] = *missing.begin();
  fail(
      str("tensor {} of shape {} is missing ({} missing in all): the file is not a complete "
          "model, download it again",
          name, text(shape), missing.size()));
}

}  // namespace longspan

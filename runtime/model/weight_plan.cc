#include "runtime/model/weight_plan.h"

#include "runtime/model/model_part.h"

namespace longspan {
namespace {

constexpr std::size_t kAlignment = 64;

std::uint64_t mix(std::uint64_t digest, std::uint64_t value) {  // FNV-1a, eight bytes at a time
  return (digest ^ value) * 0x100000001b3u;
}

}  // namespace

WeightPlan::WeightPlan(const ModelConfig& config, TensorType embedding, const ModelOps& ops)
    : qkv_(ops.new_matrix_layout(config.q_width() + 2 * config.kv_width(), config.hidden)),
      attention_output_(ops.new_matrix_layout(config.hidden, config.q_width())),
      gate_up_(ops.new_matrix_layout(2 * config.ffn, config.hidden)),
      down_(ops.new_matrix_layout(config.hidden, config.ffn)),
      output_layout_(ops.new_matrix_layout(vocabulary_slice(config.vocabulary, config.part).count,
                                           config.hidden)),
      embedding_type_(ops.embedding_type(embedding)) {
  const std::size_t norm_bytes = config.hidden * sizeof(float);
  header_ = place(kHeaderBytes);
  embedding_ = place(byte_size(embedding_type_, config.hidden) * config.vocabulary);
  for (int i = 0; i < config.layers; ++i) {
    Layer layer{};
    layer.attention_norm = place(norm_bytes);
    layer.qkv = place(qkv_->bytes());
    layer.attention_output = place(attention_output_->bytes());
    layer.ffn_norm = place(norm_bytes);
    layer.gate_up = place(gate_up_->bytes());
    layer.down = place(down_->bytes());
    if (config.qkv_bias) layer.qkv_bias = place_values(config.q_width() + 2 * config.kv_width());
    if (config.qk_norm) {
      layer.query_norm = place_values(config.heads.head_dim);
      layer.key_norm = place_values(config.heads.head_dim);
    }
    if (config.post_norms) {
      layer.attention_post_norm = place(norm_bytes);
      layer.ffn_post_norm = place(norm_bytes);
    }
    layers_.push_back(layer);
  }
  output_norm_ = place(norm_bytes);
  output_ = place(output_layout_->bytes());

  digest_ = mix(0xcbf29ce484222325u, bytes_);
  for (const int number : {config.part.index, config.part.ranks}) digest_ = mix(digest_, number);
  for (const auto* layout : {&qkv_, &attention_output_, &gate_up_, &down_, &output_layout_}) {
    digest_ = mix(digest_, (*layout)->digest());
  }
}

std::size_t WeightPlan::place(std::size_t bytes) {
  const std::size_t offset = bytes_;
  bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return offset;
}

}  // namespace longspan

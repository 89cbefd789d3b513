// Where everything lies in the block of weights: known from the configuration alone, so that memory
// is planned before any is allocated and every rank computes the same offsets by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"

namespace longspan {

class WeightPlan {
 public:
  /// For the part of the model that `config` describes. `embedding`: the type of the file's
  /// table, which `ops` may keep as another.
  WeightPlan(const ModelConfig& config, TensorType embedding, const ModelOps& ops);

  /// Offsets from the start of the block, all multiples of 64.
  struct Layer {
    std::size_t attention_norm;
    std::size_t qkv;
    std::size_t attention_output;
    std::size_t ffn_norm;
    std::size_t gate_up;
    std::size_t down;
    // Of models that have them:
    std::optional<std::size_t> qkv_bias = {};  // (q_width + 2 kv_width)
    std::optional<std::size_t> query_norm = {};
    std::optional<std::size_t> key_norm = {};
    std::optional<std::size_t> attention_post_norm = {};
    std::optional<std::size_t> ffn_post_norm = {};
  };

  /// Of the whole block.
  std::size_t bytes() const { return bytes_; }
  /// Equal on ranks that may share a block.
  std::uint64_t digest() const { return digest_; }

  /// Of the block's own mark, which tells a rank that it opened the right one.
  static constexpr std::size_t kHeaderBytes = 64;
  std::size_t header() const { return header_; }

  std::size_t embedding() const { return embedding_; }
  TensorType embedding_type() const { return embedding_type_; }
  const Layer& layer(int index) const { return layers_[index]; }
  std::size_t output_norm() const { return output_norm_; }
  std::size_t output() const { return output_; }

  const MatrixLayout& qkv_layout() const { return *qkv_; }
  const MatrixLayout& attention_output_layout() const { return *attention_output_; }
  const MatrixLayout& gate_up_layout() const { return *gate_up_; }
  const MatrixLayout& down_layout() const { return *down_; }
  const MatrixLayout& output_layout() const { return *output_layout_; }

 private:
  /// Takes the next free bytes; returns where they begin.
  std::size_t place(std::size_t bytes);
  std::size_t place_values(std::int64_t values) { return place(values * sizeof(float)); }

  std::unique_ptr<MatrixLayout> qkv_;
  std::unique_ptr<MatrixLayout> attention_output_;
  std::unique_ptr<MatrixLayout> gate_up_;
  std::unique_ptr<MatrixLayout> down_;
  std::unique_ptr<MatrixLayout> output_layout_;
  TensorType embedding_type_;
  std::size_t header_ = 0;
  std::size_t embedding_ = 0;
  std::vector<Layer> layers_;
  std::size_t output_norm_ = 0;
  std::size_t output_ = 0;
  std::size_t bytes_ = 0;
  std::uint64_t digest_ = 0;
};

}  // namespace longspan

#include "runtime/model/llama_tensors.h"

#include <fmt/ranges.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Shape = std::vector<std::int64_t>;
using Shapes = std::map<std::string, Shape, std::less<>>;

Shapes expected_shapes(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden, ffn = config.ffn;
  Shapes shapes{{"token_embd.weight", {config.vocabulary, hidden}},
                {"output_norm.weight", {hidden}}};
  if (!config.tied_output) shapes["output.weight"] = {config.vocabulary, hidden};
  for (int layer = 0; layer < config.layers; ++layer) {
    const auto tensor = [&](std::string_view part) { return str("blk.{}.{}.weight", layer, part); };
    shapes[tensor("attn_norm")] = {hidden};
    shapes[tensor("attn_q")] = {config.q_width(), hidden};
    shapes[tensor("attn_k")] = {config.kv_width(), hidden};
    shapes[tensor("attn_v")] = {config.kv_width(), hidden};
    shapes[tensor("attn_output")] = {hidden, config.q_width()};
    shapes[tensor("ffn_norm")] = {hidden};
    shapes[tensor("ffn_gate")] = {ffn, hidden};
    shapes[tensor("ffn_up")] = {ffn, hidden};
    shapes[tensor("ffn_down")] = {hidden, ffn};
  }
  return shapes;
}

std::string text(const Shape& shape) { return str("({})", fmt::join(shape, ", ")); }

std::string why_unexpected(std::string_view tensor) {
  if (tensor.ends_with(".bias")) return "biases are not built";
  if (tensor.starts_with("rope_f"))
    return "rotary embeddings with scaled frequencies are not built";
  return "a Llama model of this shape has no such tensor";
}

}  // namespace

void check_llama_tensors(const GgufFile& file, const ModelConfig& config) {
  Shapes missing = expected_shapes(config);
  const auto fail = [&](const std::string& problem) {
    throw DataError(str("{}: {}", file.path().string(), problem));
  };
  for (const TensorInfo& tensor : file.tensors()) {
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

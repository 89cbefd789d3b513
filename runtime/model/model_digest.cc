#include "runtime/model/model_digest.h"

#include <algorithm>
#include <string>
#include <vector>

#include "comm/str.h"
#include "runtime/model/gguf.h"

namespace longspan {
namespace {

constexpr std::uint64_t kPiece = 4096;

std::string shape_text(const ModelConfig& config) {
  return str("{}\n{} layers, {} wide, {} in between, heads {} {} {}, vocabulary {}, context {}\n",
             config.architecture, config.layers, config.hidden, config.ffn,
             config.heads.query_heads, config.heads.kv_heads, config.heads.head_dim,
             config.vocabulary, config.context);
}

std::string tensor_text(const TensorInfo& tensor) {
  std::string text = str("{} {} {}", tensor.name, static_cast<int>(tensor.type), tensor.bytes);
  for (const std::int64_t size : tensor.shape) text += str(" {}", size);
  return text + "\n";
}

}  // namespace

Sha256 model_digest(const ModelConfig& config, const TensorFile* file) {
  std::string text = shape_text(config);
  if (!file) return sha256_of(text + "made up");
  std::vector<const TensorInfo*> tensors;  // by name: shards may list them in any order
  for (const TensorInfo& tensor : file->tensors()) tensors.push_back(&tensor);
  std::ranges::sort(tensors, {}, [](const TensorInfo* tensor) { return tensor->name; });
  for (const TensorInfo* tensor : tensors) {
    TensorInfo piece = *tensor;
    piece.bytes = std::min(kPiece, tensor->bytes);
    piece.offset += (tensor->bytes - piece.bytes) / 2;
    std::string values(piece.bytes, '\0');
    file->read(piece, std::as_writable_bytes(std::span(values)));
    text += tensor_text(*tensor) + values;
  }
  return sha256_of(text);
}

}  // namespace longspan

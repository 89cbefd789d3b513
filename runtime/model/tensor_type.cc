// Names and sizes of the element types (gguf.h).
#include "comm/error.h"
#include "runtime/model/gguf.h"

namespace longspan {
namespace {

struct Layout {
  std::string_view name;
  std::int64_t values;  // per block
  std::size_t bytes;    // per block
};

Layout layout(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return {"F32", 1, 4};
    case TensorType::kF16:
      return {"F16", 1, 2};
    case TensorType::kBF16:
      return {"BF16", 1, 2};
    case TensorType::kQ4_0:
      return {"Q4_0", 32, 2 + 16};  // scale, nibbles
    case TensorType::kQ4_1:
      return {"Q4_1", 32, 2 + 2 + 16};  // scale, minimum, nibbles
    case TensorType::kQ8_0:
      return {"Q8_0", 32, 2 + 32};  // scale, bytes
    case TensorType::kQ5_0:
      return {"Q5_0", 32, 2 + 4 + 16};  // scale, fifth bits, nibbles
    case TensorType::kQ5_1:
      return {"Q5_1", 32, 2 + 2 + 4 + 16};  // scale, minimum, fifth bits, nibbles
    case TensorType::kQ4_K:
      return {"Q4_K", 256, 2 + 2 + 12 + 128};  // scale, minimum, those of groups, nibbles
    case TensorType::kQ5_K:
      return {"Q5_K", 256, 2 + 2 + 12 + 32 + 128};  // and fifth bits
    case TensorType::kQ6_K:
      return {"Q6_K", 256, 128 + 64 + 16 + 2};  // nibbles, two bits each, scales of groups, scale
  }
  expects(false, "a tensor type is one of the enumerators");
  return {};
}

}  // namespace

std::string_view name(TensorType type) { return layout(type).name; }

std::int64_t block_values(TensorType type) { return layout(type).values; }

std::size_t byte_size(TensorType type, std::int64_t values) {
  const Layout block = layout(type);
  expects(values >= 0 && values % block.values == 0, "values come in whole blocks");
  return static_cast<std::size_t>(values / block.values) * block.bytes;
}

}  // namespace longspan

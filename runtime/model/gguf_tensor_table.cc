#include "runtime/model/gguf_tensor_table.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "comm/str.h"
#include "runtime/model/gguf_metadata.h"

namespace longspan {
namespace {

constexpr std::uint32_t kHighestRank = 4;
// Keeps every byte count far from overflow: no type needs more than 4 bytes per value.
constexpr std::uint64_t kMostValues = std::uint64_t{1} << 56;

/// Names of all types of the format, by code; also of those we refuse.
std::string type_name(std::uint32_t code) {
  static constexpr std::string_view kNames[] = {
      "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
      "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
      "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
      "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
      "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
      "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};
  return code < std::size(kNames) ? std::string(kNames[code]) : str("number {}", code);
}

TensorType read_type(GgufCursor& cursor) {
  const auto code = cursor.number<std::uint32_t>();
  switch (code) {
    case 0:
      return TensorType::kF32;
    case 1:
      return TensorType::kF16;
    case 2:
      return TensorType::kQ4_0;
    case 3:
      return TensorType::kQ4_1;
    case 6:
      return TensorType::kQ5_0;
    case 7:
      return TensorType::kQ5_1;
    case 8:
      return TensorType::kQ8_0;
    case 12:
      return TensorType::kQ4_K;
    case 13:
      return TensorType::kQ5_K;
    case 14:
      return TensorType::kQ6_K;
    case 30:
      return TensorType::kBF16;
  }
  cursor.fail(
      str("is of type {}; longspan reads F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1 "
          "and Q4_0: use another quantisation of the model, such as Q8_0",
          type_name(code)));
}

/// The file lists the fastest dimension first; TensorInfo has it last.
std::vector<std::int64_t> read_shape(GgufCursor& cursor) {
  const auto rank = cursor.number<std::uint32_t>();
  if (rank < 1 || rank > kHighestRank) {
    cursor.fail(
        str("has {} dimensions; 1 to {} are possible: the file is damaged, download it "
            "again",
            rank, kHighestRank));
  }
  std::vector<std::int64_t> shape(rank);
  std::uint64_t values = 1;
  for (auto dimension = shape.rbegin(); dimension != shape.rend(); ++dimension) {
    const auto size = cursor.number<std::uint64_t>();
    if (size == 0 || size > kMostValues / values) {
      cursor.fail(
          str("has a dimension of {} after {} values: the file is damaged, download it "
              "again",
              size, values));
    }
    values *= size;
    *dimension = static_cast<std::int64_t>(size);
  }
  return shape;
}

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t values = 1;
  for (const std::int64_t size : shape) values *= size;  // read_shape checked it
  return values;
}

/// One entry; `offset` is still relative to the data.
TensorInfo read_entry(GgufCursor& cursor) {
  TensorInfo tensor;
  tensor.name = read_gguf_name(cursor, "a tensor");
  cursor.set_subject(str("tensor {}", tensor.name));
  tensor.shape = read_shape(cursor);
  tensor.type = read_type(cursor);
  tensor.offset = cursor.number<std::uint64_t>();
  if (tensor.shape.back() % block_values(tensor.type) != 0) {
    cursor.fail(
        str("has rows of {} values, no multiple of the {} of a {} block: the file is "
            "damaged, download it again",
            tensor.shape.back(), block_values(tensor.type), name(tensor.type)));
  }
  tensor.bytes = byte_size(tensor.type, product(tensor.shape));
  return tensor;
}

void place(GgufCursor& cursor, TensorInfo& tensor, std::uint64_t data, std::uint64_t alignment) {
  cursor.set_subject(str("tensor {}", tensor.name));
  if (tensor.offset % alignment != 0) {
    cursor.fail(
        str("lies at offset {}, no multiple of the file's alignment {}: the file is "
            "damaged, download it again",
            tensor.offset, alignment));
  }
  const std::uint64_t room = cursor.file_bytes() - std::min(data, cursor.file_bytes());
  if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
    cursor.fail(
        str("needs {} bytes at offset {} of the data, but the file has only {} bytes of "
            "data: the file is truncated, download it again",
            tensor.bytes, tensor.offset, room));
  }
  tensor.offset += data;
}

void check_overlap(GgufCursor& cursor, const std::vector<TensorInfo>& tensors) {
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::ranges::sort(by_offset, {}, [](const TensorInfo* tensor) { return tensor->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = *by_offset[i - 1];
    if (before.offset + before.bytes <= by_offset[i]->offset) continue;
    cursor.set_subject(str("tensor {}", by_offset[i]->name));
    cursor.fail(str("overlaps tensor {} at byte {}: the file is damaged, download it again",
                    before.name, by_offset[i]->offset));
  }
}

}  // namespace

std::vector<TensorInfo> read_gguf_tensor_table(GgufCursor& cursor, std::uint64_t count,
                                               std::uint64_t alignment) {
  std::vector<TensorInfo> tensors;
  std::set<std::string, std::less<>> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    cursor.set_subject(str("tensor {} of {}", i + 1, count));
    tensors.push_back(read_entry(cursor));
    if (!names.insert(tensors.back().name).second) {
      cursor.fail("occurs twice: the file is damaged, convert the model again");
    }
  }
  const std::uint64_t data = (cursor.position() + alignment - 1) / alignment * alignment;
  for (TensorInfo& tensor : tensors) place(cursor, tensor, data, alignment);
  check_overlap(cursor, tensors);
  return tensors;
}

}  // namespace longspan

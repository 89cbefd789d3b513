#include "tests/runtime/model/gguf_writer.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "comm/error.h"

namespace longspan::test {
namespace {

constexpr std::uint32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9,
                        kUint64 = 10;

std::uint32_t type_code(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return 0;
    case TensorType::kF16:
      return 1;
    case TensorType::kQ4_0:
      return 2;
    case TensorType::kQ4_1:
      return 3;
    case TensorType::kQ5_0:
      return 6;
    case TensorType::kQ5_1:
      return 7;
    case TensorType::kQ8_0:
      return 8;
    case TensorType::kQ4_K:
      return 12;
    case TensorType::kQ5_K:
      return 13;
    case TensorType::kQ6_K:
      return 14;
    case TensorType::kBF16:
      return 30;
  }
  throw std::logic_error("unknown tensor type");
}

void pad(std::string& bytes, std::uint64_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

}  // namespace

std::string encoded_string(std::string_view text) {
  return encoded(std::uint64_t{text.size()}).append(text);
}

void GgufWriter::set_raw(std::string_view key, std::uint32_t type, std::string value) {
  value.insert(0, encoded(type));
  const auto entry = std::ranges::find(entries_, key, [](const auto& e) { return e.first; });
  if (entry != entries_.end()) {
    entry->second = std::move(value);
  } else {
    entries_.emplace_back(key, std::move(value));
  }
}

void GgufWriter::set_uint32(std::string_view key, std::uint32_t value) {
  set_raw(key, kUint32, encoded(value));
}
void GgufWriter::set_uint64(std::string_view key, std::uint64_t value) {
  set_raw(key, kUint64, encoded(value));
}
void GgufWriter::set_float(std::string_view key, float value) {
  set_raw(key, kFloat32, encoded(value));
}
void GgufWriter::set_bool(std::string_view key, bool value) {
  set_raw(key, kBool, encoded(static_cast<std::uint8_t>(value)));
}
void GgufWriter::set_string(std::string_view key, std::string_view value) {
  set_raw(key, kString, encoded_string(value));
}

void GgufWriter::set_strings(std::string_view key, const std::vector<std::string>& values) {
  std::string array = encoded(kString) + encoded(std::uint64_t{values.size()});
  for (const std::string& value : values) array += encoded_string(value);
  set_raw(key, kArray, std::move(array));
}

void GgufWriter::set_int32s(std::string_view key, const std::vector<std::int32_t>& values) {
  std::string array = encoded(kInt32) + encoded(std::uint64_t{values.size()});
  for (const std::int32_t value : values) array += encoded(value);
  set_raw(key, kArray, std::move(array));
}

void GgufWriter::remove(std::string_view key) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
}

void GgufWriter::add_tensor(std::string name, TensorType type, std::vector<std::int64_t> shape,
                            std::span<const float> values) {
  tensors.push_back({std::move(name), type_code(type), std::move(shape), quantize(type, values)});
}

GgufWriter::Tensor& GgufWriter::tensor(std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  expects(found != tensors.end(), "the file has a tensor of that name");
  return *found;
}

void GgufWriter::remove_tensor(std::string_view name) {
  std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
}

std::string GgufWriter::header() const {
  std::string out = "GGUF" + encoded(version) + encoded(std::uint64_t{tensors.size()}) +
                    encoded(std::uint64_t{entries_.size()});
  for (const auto& [key, value] : entries_) out += encoded_string(key) + value;
  std::uint64_t next = 0;
  for (const Tensor& tensor : tensors) {
    out += encoded_string(tensor.name) + encoded(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      out += encoded(*size);
    }
    out += encoded(tensor.type) + encoded(tensor.offset.value_or(next));
    next = (next + tensor.data.size() + alignment - 1) / alignment * alignment;
  }
  return out;
}

std::string GgufWriter::bytes() const {
  std::string out = header();
  for (const Tensor& tensor : tensors) {
    pad(out, alignment);
    out.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return out;
}

void GgufWriter::write(const std::filesystem::path& path) const { write_file(path, bytes()); }

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace longspan::test

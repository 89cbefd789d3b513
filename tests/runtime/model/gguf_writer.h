// Writes GGUF files for tests: well-formed ones by default, and wrong ones on request, since every
// entry can be replaced and every tensor's description differ from its data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/model/gguf.h"

namespace longspan::test {

/// Values in their file form, by the rules of runtime/model/dequantize.cc; for quantised types each
/// value is off by half a step of its block at most.
std::vector<std::byte> quantize(TensorType type, std::span<const float> values);

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::uint32_t type;               // the format's code
    std::vector<std::int64_t> shape;  // slowest dimension first, as in TensorInfo
    std::vector<std::byte> data;
    std::optional<std::uint64_t> offset = std::nullopt;  // where to claim it lies, if not there
  };

  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  // obeyed, but declared only by set_uint32("general.alignment")
  std::vector<Tensor> tensors;

  /// Each replaces the value of a key that exists.
  void set_uint32(std::string_view key, std::uint32_t value);
  void set_uint64(std::string_view key, std::uint64_t value);
  void set_float(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, const std::vector<std::string>& values);
  void set_int32s(std::string_view key, const std::vector<std::int32_t>& values);
  /// `encoded` follows the type code as it is.
  void set_raw(std::string_view key, std::uint32_t type, std::string encoded);
  void remove(std::string_view key);

  void add_tensor(std::string name, TensorType type, std::vector<std::int64_t> shape,
                  std::span<const float> values);
  /// Of that name; std::logic_error without one.
  Tensor& tensor(std::string_view name);
  void remove_tensor(std::string_view name);

  /// Everything before the data, without the padding.
  std::string header() const;
  /// The whole file.
  std::string bytes() const;
  void write(const std::filesystem::path& path) const;

 private:
  std::vector<std::pair<std::string, std::string>> entries_;  // key; type and value
};

/// Little-endian bytes of a number, and a length with text, as the format writes them.
template <typename T>
std::string encoded(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string encoded_string(std::string_view text);

void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace longspan::test

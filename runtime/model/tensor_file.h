// What weights are loaded from: named tensors, each a range of bytes that can be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace longspan {

struct TensorInfo;

class TensorFile {
 public:
  virtual ~TensorFile() = default;

  /// The file or folder, for messages.
  virtual const std::filesystem::path& path() const = 0;
  /// What holds tensors: files that lie beside each other.
  virtual std::vector<std::filesystem::path> files() const = 0;
  /// Of all of them.
  virtual std::uint64_t file_bytes() const = 0;
  /// Every one checked: it lies inside the file and overlaps no other.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// The tensor of that name, or null.
  virtual const TensorInfo* find(std::string_view name) const = 0;
  /// Reads `tensor.bytes` bytes at `tensor.offset`: a tensor, or rows of one. Throws IoError or,
  /// when the file has shrunk, DataError. Safe from several threads.
  virtual void read(const TensorInfo& tensor, std::span<std::byte> into) const = 0;

 protected:
  TensorFile() = default;
  TensorFile(TensorFile&&) = default;
  TensorFile& operator=(TensorFile&&) = default;
};

}  // namespace longspan

// The weights of a Hugging Face model folder: model.safetensors, or the shards that
// model.safetensors.index.json lists. The shards count as one file, one behind the other in the
// order of their names.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "runtime/model/safetensors.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

class ModelFolder final : public TensorFile {
 public:
  /// Opens all shards and compares them with the index: a shard that is missing, or that holds
  /// other tensors than the index says, is named. Throws MissingInput, PermissionError, IoError or
  /// DataError.
  explicit ModelFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const override { return folder_; }
  std::vector<std::filesystem::path> files() const override;
  std::uint64_t file_bytes() const override { return begins_.back(); }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  /// Of one tensor, hence of one shard.
  void read(const TensorInfo& tensor, std::span<std::byte> into) const override;

  std::size_t shards() const { return shards_.size(); }

 private:
  void add(SafetensorsFile shard);
  void open_shards(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> shards_;
  std::vector<std::uint64_t> begins_{0};  // where each shard begins, and where the last one ends
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

}  // namespace longspan

// Hugging Face model folders for tests: config.json and safetensors, in one file or several.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/model/gguf.h"

namespace longspan::test {

/// 8 bytes of length, the header, the data.
void write_safetensors(const std::filesystem::path& path, const std::string& header,
                       const std::string& data);

class FolderWriter {
 public:
  /// `values` as `type` keeps them, rounded to the nearest.
  void add(const std::string& name, TensorType type, const std::vector<std::int64_t>& shape,
           const std::vector<float>& values);

  /// Writes the folder, which exists. With several shards tensors are dealt to them in turn, and
  /// an index says so.
  void write(const std::filesystem::path& folder, const std::string& config, int shards = 1) const;

 private:
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string data;
  };
  void write_shard(const std::filesystem::path& path, int shard, int shards) const;

  std::vector<Tensor> tensors_;
};

}  // namespace longspan::test

// A safetensors file, its header read and every number in it checked.
//
//   8 bytes  length of the header, little-endian
//   header   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
//   data     the tensors, back to back and without a gap to the end of the file
//
// The header is input from a stranger: its length is compared with the file and a limit before it
// is read, it is parsed without recursion, and sizes are multiplied with overflow checks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/model_file.h"

namespace longspan {

class SafetensorsFile {
 public:
  /// Opens and validates. Throws MissingInput, PermissionError, IoError or DataError, which name
  /// the file, the tensor and what is wrong with it.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const ModelFile& file() const { return file_; }
  /// In the order of their data; offsets count from the start of the file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

 private:
  ModelFile file_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace longspan

// A GGUF model file (version 2 and 3), its header read and every number in it checked.
//
// The header is input from a stranger: counts are capped before anything is allocated, lengths are
// compared with what is left of the file, sizes are multiplied with overflow checks. What this
// class hands out can be trusted: every tensor lies inside the file, aligned, without overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/model/model_file.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

/// Element types we read. Quantised ones come in blocks: of 32 values, of 256 those named _K.
enum class TensorType { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ8_0, kQ5_0, kQ5_1, kQ4_K, kQ5_K, kQ6_K };

std::string_view name(TensorType type);
/// Bytes of `values` values; `values` must be a multiple of the type's block.
std::size_t byte_size(TensorType type, std::int64_t values);
std::int64_t block_values(TensorType type);

/// values.size() values from their file form. `bytes` must be exactly byte_size(type,
/// values.size()).
void dequantize(TensorType type, std::span<const std::byte> bytes, std::span<float> values);

/// Shape with the slowest dimension first (GGUF writes the fastest first): a weight matrix is
/// (outputs, inputs).
struct TensorInfo {
  std::string name;
  TensorType type;
  std::vector<std::int64_t> shape;
  std::uint64_t offset;  // from the start of the file
  std::uint64_t bytes;
};

class GgufFile final : public TensorFile {
 public:
  using Array = std::variant<std::vector<std::string>, std::vector<std::int64_t>,
                             std::vector<double>, std::vector<bool>>;
  using Value = std::variant<std::int64_t, std::uint64_t, double, bool, std::string, Array>;

  /// Opens and validates. Throws MissingInput, PermissionError or DataError, which name the file
  /// and what is wrong with it.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const override { return file_.path(); }
  std::vector<std::filesystem::path> files() const override { return {file_.path()}; }
  std::uint64_t file_bytes() const override { return file_.bytes(); }
  const std::map<std::string, Value, std::less<>>& metadata() const { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }

  const TensorInfo* find(std::string_view name) const override;

  /// Typed metadata. `require_` throws DataError naming file and key when absent; all throw it when
  /// the type differs or an integer does not fit.
  std::int64_t require_int(std::string_view key) const;
  std::string require_string(std::string_view key) const;
  std::optional<std::int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  const std::vector<std::string>* find_strings(std::string_view key) const;
  const std::vector<std::int64_t>* find_ints(std::string_view key) const;
  const std::vector<double>* find_floats(std::string_view key) const;

  void read(const TensorInfo& tensor, std::span<std::byte> into) const override;

 private:
  void read_header();
  void refuse_split() const;
  std::uint64_t alignment() const;

  ModelFile file_;
  std::map<std::string, Value, std::less<>> metadata_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace longspan

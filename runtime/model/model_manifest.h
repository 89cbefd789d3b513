// What the files of a model should hold: a manifest beside them, which `longspan inspect
// --write-manifest` writes and loading compares.
//
//   model.gguf                model.gguf.manifest.json
//   folder/...                folder/longspan-manifest.json
//
//   {"longspan_manifest": 1,
//    "files": {"model.gguf": {"bytes": 98362432, "sha256": "64 hexadecimal digits"}}}
//
// It lists what longspan reads of the model, no more: shards and their index, configuration,
// tokenizer, chat template. It protects against damage, mixed-up downloads and files that somebody
// changed; against somebody who can change the manifest too it protects nobody.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/model/sha256.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

/// The files that longspan reads of a model, which lie beside each other.
struct ModelFiles {
  std::filesystem::path folder;
  std::vector<std::string> names;  // sorted
  std::filesystem::path manifest;  // where theirs is, or would be
};

ModelFiles files_of(const TensorFile& model);

/// Called with bytes of all files, from one thread at a time.
using HashProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

class ModelManifest {
 public:
  /// Throws DataError naming file and key, or what reading throws.
  static ModelManifest read(const std::filesystem::path& file);
  /// Nothing where the model has none.
  static std::optional<ModelManifest> find(const ModelFiles& files);
  /// Reads all files, each on one of `threads` threads.
  static ModelManifest made_of(const ModelFiles& files, int threads, const HashProgress& progress);

  /// As it is written to its file.
  std::string text() const;
  std::size_t files() const { return contents_.size(); }
  std::uint64_t bytes() const;

  /// Throws DataError or MissingInput unless exactly `files` are listed, each of its size: costs no
  /// reading.
  void expect_listed(const ModelFiles& files) const;
  /// Throws DataError naming the first file that differs from `found`, which lists the same ones.
  void expect_same(const ModelManifest& found, const ModelFiles& files) const;

  friend bool operator==(const ModelManifest&, const ModelManifest&) = default;

 private:
  struct Content {
    std::uint64_t bytes = 0;
    Sha256 digest{};
    friend bool operator==(const Content&, const Content&) = default;
  };

  std::map<std::string, Content> contents_;  // by name
};

}  // namespace longspan

#include "runtime/model/model_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/json_file.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSingle = "model.safetensors";

/// Of each shard the tensors that the index promises.
using Promised = std::map<std::string, std::set<std::string, std::less<>>>;

/// A name that stays inside the folder.
bool is_plain_file_name(const std::string& name) {
  return name.size() <= 255 && name.ends_with(".safetensors") && !name.starts_with('.') &&
         name.find('/') == std::string::npos && is_printable(name);
}

Promised read_index(const std::filesystem::path& path) {
  const nlohmann::json json = read_json_file(path);
  const JsonView map = JsonView(json, path).at("weight_map");
  map.require_object();
  Promised promised;
  for (const auto& [tensor, shard] : map.value().items()) {
    const std::string& name = map.at(tensor).text();
    if (!is_plain_file_name(name)) {
      throw DataError(
          str("{}: tensor {} is said to lie in '{}', which is no name of a safetensors "
              "file of this folder: download the index again",
              path.string(), printable(tensor), printable(name)));
    }
    promised[name].insert(tensor);
  }
  if (promised.empty()) {
    throw DataError(str("{}: lists no tensor: download the index again", path.string()));
  }
  return promised;
}

void expect_promised(const SafetensorsFile& shard, const std::set<std::string, std::less<>>& names,
                     const std::filesystem::path& index) {
  const auto fail = [&](const std::string& problem) {
    throw DataError(
        str("{}: {}: it is of another model or another part of this one, download "
            "folder and index again",
            shard.file().path().string(), problem));
  };
  std::set<std::string_view> held;
  for (const TensorInfo& tensor : shard.tensors()) {
    held.insert(tensor.name);
    if (names.contains(tensor.name)) continue;
    fail(str("holds tensor {}, which {} places elsewhere", tensor.name, index.filename().string()));
  }
  for (const std::string& name : names) {
    if (held.contains(name)) continue;
    fail(str("lacks tensor {}, which {} places there", printable(name), index.filename().string()));
  }
}

}  // namespace

ModelFolder::ModelFolder(const std::filesystem::path& folder) : folder_(folder) {
  if (std::filesystem::exists(folder / kIndex)) {
    open_shards(folder / kIndex);
  } else if (std::filesystem::exists(folder / kSingle)) {
    add(SafetensorsFile(folder / kSingle));
  } else {
    throw MissingInput(
        str("{}: the folder has neither {} nor {}; longspan reads folders with "
            "safetensors weights",
            folder.string(), kSingle, kIndex));
  }
}

void ModelFolder::open_shards(const std::filesystem::path& index) {
  for (const auto& [name, tensors] : read_index(index)) {
    if (!std::filesystem::exists(folder_ / name)) {
      throw MissingInput(str("{}: shard {} is missing, which {} lists: download it",
                             folder_.string(), name, kIndex));
    }
    SafetensorsFile shard(folder_ / name);
    expect_promised(shard, tensors, index);
    add(std::move(shard));
  }
}

void ModelFolder::add(SafetensorsFile shard) {
  const std::uint64_t begin = begins_.back();
  for (TensorInfo tensor : shard.tensors()) {
    tensor.offset += begin;
    by_name_.emplace(tensor.name, tensors_.size());
    tensors_.push_back(std::move(tensor));
  }
  begins_.push_back(begin + shard.file().bytes());
  shards_.push_back(std::move(shard));
}

std::vector<std::filesystem::path> ModelFolder::files() const {
  std::vector<std::filesystem::path> files;
  for (const SafetensorsFile& shard : shards_) files.push_back(shard.file().path());
  return files;
}

const TensorInfo* ModelFolder::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

void ModelFolder::read(const TensorInfo& tensor, std::span<std::byte> into) const {
  expects(into.size() == tensor.bytes, "room for exactly the tensor's bytes");
  const auto behind = std::ranges::upper_bound(begins_, tensor.offset);
  const auto shard = static_cast<std::size_t>(behind - begins_.begin()) - 1;
  expects(shard < shards_.size(), "a tensor of this folder");
  shards_[shard].file().read(tensor.offset - begins_[shard], into);
}

}  // namespace longspan

#include "tests/runtime/model/folder_writer.h"

#include <algorithm>
#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "tests/runtime/model/gguf_writer.h"

namespace longspan::test {
namespace {

std::string shard_name(int shard, int shards) {
  if (shards == 1) return "model.safetensors";
  return str("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

/// To bfloat16, ties to even as torch does; quantize() rounds them up.
void round_to_even(float& value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  value = std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::string& header,
                       const std::string& data) {
  const std::uint64_t length = header.size();
  write_text(path,
             std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data);
}

void FolderWriter::add(const std::string& name, TensorType type,
                       const std::vector<std::int64_t>& shape, const std::vector<float>& values) {
  std::vector<float> kept = values;
  if (type == TensorType::kBF16) std::ranges::for_each(kept, round_to_even);
  const std::vector<std::byte> bytes = quantize(type, kept);
  tensors_.push_back({name,
                      std::string(longspan::name(type)),
                      shape,
                      {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
}

void FolderWriter::write_shard(const std::filesystem::path& path, int shard, int shards) const {
  nlohmann::ordered_json header{{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (std::size_t i = shard; i < tensors_.size(); i += shards) {
    const Tensor& tensor = tensors_[i];
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
    data += tensor.data;
  }
  write_safetensors(path, header.dump(), data);
}

void FolderWriter::write(const std::filesystem::path& folder, const std::string& config,
                         int shards) const {
  write_text(folder / "config.json", config);
  nlohmann::json map = nlohmann::json::object();
  for (int shard = 0; shard < shards; ++shard) {
    const std::string name = shard_name(shard, shards);
    write_shard(folder / name, shard, shards);
    for (std::size_t i = shard; i < tensors_.size(); i += shards) map[tensors_[i].name] = name;
  }
  if (shards == 1) return;
  write_text(folder / "model.safetensors.index.json",
             nlohmann::json{{"metadata", nlohmann::json::object()}, {"weight_map", map}}.dump());
}

}  // namespace longspan::test

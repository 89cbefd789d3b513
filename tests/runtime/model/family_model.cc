#include "tests/runtime/model/family_model.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <stdexcept>

#include "tests/runtime/model/folder_writer.h"

namespace longspan::test {
namespace {

std::filesystem::path data_folder(const std::string& folder) {
  return std::filesystem::path(LONGSPAN_TEST_DATA_DIR) / folder;
}

TensorType type_of(const std::string& dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBF16;
  throw std::invalid_argument("no such dtype: " + dtype);
}

/// values() of make_families.py: SplitMix64 of the name's FNV-1a hash and the index.
std::vector<float> values(const std::string& name, std::int64_t count, double center,
                          double scale) {
  std::uint64_t seed = 0xcbf29ce484222325;
  for (const char byte : name) {
    seed = (seed ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  std::vector<float> out;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint64_t z = seed + static_cast<std::uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    const double u = static_cast<double>(z >> 40) / (1 << 23) - 1.0;
    out.push_back(static_cast<float>(center + scale * u));
  }
  return out;
}

}  // namespace

std::vector<std::string> FamilyModel::names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_folder(folder))) {
    names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

FamilyModel::FamilyModel(const std::string& name, const std::string& folder) {
  std::ifstream file(data_folder(folder) / (name + ".json"));
  json_ = nlohmann::json::parse(file);
}

void FamilyModel::write(const std::filesystem::path& folder, const nlohmann::json& config) const {
  const TensorType type = type_of(json_.at("dtype"));
  FolderWriter writer;
  for (const nlohmann::json& tensor : json_.at("weights")) {
    const std::string name = tensor.at("name");
    const std::vector<std::int64_t> shape = tensor.at("shape");
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    writer.add(name, type, shape, values(name, count, tensor.at("center"), tensor.at("scale")));
  }
  writer.write(folder, config.dump(), json_.at("shards"));
}

}  // namespace longspan::test

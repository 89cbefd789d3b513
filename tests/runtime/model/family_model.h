// The tiny random models of tests/data/families and head_sizes, which
// tests/oracles/make_families.py made and transformers computed: written as folders, with what
// transformers said of them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace longspan::test {

class FamilyModel {
 public:
  /// All that a folder of tests/data has, by name.
  static std::vector<std::string> names(const std::string& folder = "families");

  explicit FamilyModel(const std::string& name, const std::string& folder = "families");

  /// The case as it was made: config, config_4 (as transformers 4 writes it), prompt, forced, nll,
  /// logprobs, bfloat16 (the mean and largest error of transformers' own).
  const nlohmann::json& json() const { return json_; }
  /// Writes the folder, which exists. Weights come from the recipe.
  void write(const std::filesystem::path& folder, const nlohmann::json& config) const;
  void write(const std::filesystem::path& folder) const { write(folder, json_.at("config")); }

 private:
  nlohmann::json json_;
};

}  // namespace longspan::test

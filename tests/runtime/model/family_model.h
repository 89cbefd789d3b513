// The tiny random models of tests/data/families, which tests/oracles/make_families.py made and
// transformers computed: written as folders, with what transformers said of them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace longspan::test {

class FamilyModel {
 public:
  /// All that there are, by name.
  static std::vector<std::string> names();

  explicit FamilyModel(const std::string& name);

  /// The case as it was made: config, config_4 (as transformers 4 writes it), prompt, forced, nll,
  /// logprobs.
  const nlohmann::json& json() const { return json_; }
  /// Writes the folder, which exists. Weights come from the recipe.
  void write(const std::filesystem::path& folder, const nlohmann::json& config) const;
  void write(const std::filesystem::path& folder) const { write(folder, json_.at("config")); }

 private:
  nlohmann::json json_;
};

}  // namespace longspan::test

#include "runtime/model/folder_ends.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/str.h"
#include "runtime/model/json_file.h"

namespace longspan {
namespace {

std::vector<JsonView> one_or_list(const JsonView& ids) {
  if (!ids.value().is_array()) return {ids};
  std::vector<JsonView> list;
  for (std::size_t i = 0; i < ids.elements(); ++i) list.push_back(ids.element(i));
  return list;
}

}  // namespace

std::vector<TokenId> folder_ends(const std::filesystem::path& folder, std::int64_t vocabulary) {
  const std::filesystem::path generation = folder / "generation_config.json";
  const std::filesystem::path model = folder / "config.json";
  const bool generates = exists(generation);
  if (!generates && !exists(model)) return {};
  const std::filesystem::path& path = generates ? generation : model;
  const nlohmann::json file = read_json_file(path);
  const auto written = JsonView(file, path).find("eos_token_id");
  if (!written) return {};
  std::vector<TokenId> ends;
  for (const JsonView& id : one_or_list(*written)) {
    const std::int64_t value = id.integer();
    const bool is_token = value >= 0 && value < vocabulary;
    if (!is_token && generates) {
      id.fail(str("is {}, outside the {} tokens: the files belong to different models", value,
                  vocabulary));
    }
    if (!is_token || std::ranges::find(ends, value) != ends.end()) continue;
    ends.push_back(static_cast<TokenId>(value));
  }
  return ends;
}

}  // namespace longspan

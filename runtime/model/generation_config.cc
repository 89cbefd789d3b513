#include "runtime/model/generation_config.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/sampling_ranges.h"

namespace longspan {
namespace {

using nlohmann::json;

/// The values of one file; each is refused by the name of its key.
class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {
    std::ifstream in(file_, std::ios::binary);
    if (!in) throw IoError(str("{}: cannot be read; make the file readable", file_));
    const std::string text(std::istreambuf_iterator<char>(in), {});
    values_ = json::parse(text, nullptr, false);
    if (!values_.is_object()) throw DataError(str("{}: not a JSON object", file_));
  }

  bool flag(const char* key) const {
    const json* value = find(key);
    if (value && !value->is_boolean()) refuse(key, "true or false");
    return value && value->get<bool>();
  }

  std::optional<double> number(const char* key, const RealRange& range) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number() || !range.holds(value->get<double>())) refuse(key, range.text());
    return value->get<double>();
  }

  std::optional<std::int64_t> count(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number_integer() || *value < -1) refuse(key, "a whole number of at least -1");
    return value->get<std::int64_t>();
  }

  std::vector<TokenId> ids(const char* key) const {
    const json* value = find(key);
    if (!value) return {};
    std::vector<TokenId> ids;
    for (const json& id : value->is_array() ? *value : json::array({*value})) {
      if (!id.is_number_integer() || id < 0 || id > 0x7fffffff)
        refuse(key, "a token id, or a list");
      ids.push_back(id.get<TokenId>());
    }
    return ids;
  }

 private:
  const json* find(const char* key) const {
    const auto at = values_.find(key);
    return at == values_.end() || at->is_null() ? nullptr : &*at;
  }

  [[noreturn]] void refuse(const char* key, const std::string& legal) const {
    throw DataError(str("{}: {} must be {}, not {}", file_, key, legal,
                        values_[key].dump(-1, ' ', true).substr(0, 40)));
  }

  std::string file_;
  json values_;
};

}  // namespace

GenerationConfig read_generation_config(const std::string& file) {
  const Reader in(file);
  return {.do_sample = in.flag("do_sample"),
          .temperature = in.number("temperature", kTemperatures),
          .top_k = in.count("top_k"),
          .top_p = in.number("top_p", kTopPs),
          .min_p = in.number("min_p", kMinPs),
          .repetition_penalty = in.number("repetition_penalty", kRepetitionPenalties),
          .end_of_text = in.ids("eos_token_id")};
}

GenerationConfig generation_config_of(const std::string& model) {
  const std::filesystem::path file = std::filesystem::path(model) / "generation_config.json";
  std::error_code ignored;  // what cannot be looked at has none; opening the model says why
  if (!std::filesystem::exists(file, ignored)) return {};
  return read_generation_config(file.string());
}

}  // namespace longspan

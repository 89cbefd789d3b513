#include "runtime/serving/request_fields.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/serving/api_error.h"

namespace longspan {

std::string_view kind_of_value(const nlohmann::json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "true or false";
  if (value.is_number_integer()) return "a whole number";
  if (value.is_number()) return "a fraction";
  if (value.is_string()) return "a string";
  return value.is_array() ? "an array" : "an object";
}

std::optional<std::int64_t> whole_number_in(const nlohmann::json& value, WholeRange range) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return std::nullopt;
  }
  const auto number = value.get<std::int64_t>();
  if (number < range.least || number > range.most) return std::nullopt;
  return number;
}

RequestFields::RequestFields(const nlohmann::json& object, std::string path)
    : object_(object), path_(std::move(path)) {
  if (object.is_object()) return;
  const std::string which = path_.empty() ? "the request" : path_;
  throw invalid_value(path_, str("{} must be an object, not {}", which, kind_of_value(object)));
}

std::string RequestFields::param(std::string_view name) const {
  return path_.empty() ? std::string(name) : str("{}.{}", path_, name);
}

const nlohmann::json* RequestFields::find(std::string_view name) {
  asked_.emplace(name);
  const auto member = object_.find(name);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

std::optional<bool> RequestFields::flag(std::string_view name) {
  const nlohmann::json* value = find(name);
  if (!value) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  throw invalid_value(param(name),
                      str("{} must be true or false, not {}", param(name), kind_of_value(*value)));
}

std::optional<std::int64_t> RequestFields::whole_number(std::string_view name, WholeRange range) {
  const nlohmann::json* value = find(name);
  if (!value) return std::nullopt;
  if (const auto number = whole_number_in(*value, range)) return number;
  const std::string given = value->is_number() ? value->dump() : std::string(kind_of_value(*value));
  throw invalid_value(param(name), str("{} must be a whole number from {} to {}, not {}",
                                       param(name), range.least, range.most, given));
}

std::optional<double> RequestFields::number(std::string_view name, const RealRange& range) {
  const nlohmann::json* value = find(name);
  if (!value) return std::nullopt;
  if (value->is_number() && range.holds(value->get<double>())) return value->get<double>();
  const std::string given = value->is_number() ? value->dump() : std::string(kind_of_value(*value));
  throw invalid_value(param(name), str("{} must be {}, not {}", param(name), range.text(), given));
}

std::optional<std::string> RequestFields::text(std::string_view name) {
  const nlohmann::json* value = find(name);
  if (!value) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  throw invalid_value(param(name),
                      str("{} must be a string, not {}", param(name), kind_of_value(*value)));
}

std::vector<std::string> RequestFields::unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!asked_.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace longspan

// The fields of a request's JSON object, read by name, type and range.
//
// null counts as absent everywhere. What nobody asked for is left over, so that unknown fields can
// be named. All readers throw ApiRefusal, which names the field and what is legal there.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/sampling_ranges.h"

namespace longspan {

/// [least, most]
struct WholeRange {
  std::int64_t least = 0;
  std::int64_t most = 0;
};

class RequestFields {
 public:
  /// Borrows `object`; refused unless it is one. `path` is where it stands: "messages[3]", or empty
  /// for the whole request.
  RequestFields(const nlohmann::json& object, std::string path);

  /// The value, of any type; null where it is absent.
  const nlohmann::json* find(std::string_view name);
  std::optional<bool> flag(std::string_view name);
  std::optional<std::int64_t> whole_number(std::string_view name, WholeRange range);
  std::optional<double> number(std::string_view name, const RealRange& range);
  std::optional<std::string> text(std::string_view name);

  /// "messages[3].role"
  std::string param(std::string_view name) const;
  /// Names that were never asked for.
  std::vector<std::string> unknown() const;

 private:
  const nlohmann::json& object_;
  std::string path_;
  std::set<std::string, std::less<>> asked_;
};

/// "a string", "an object"; what a value is, for messages, which never repeat the value itself.
std::string_view kind_of_value(const nlohmann::json& value);

/// The whole number that `value` is, if it is one of `range`.
std::optional<std::int64_t> whole_number_in(const nlohmann::json& value, WholeRange range);

}  // namespace longspan

// JSON files of a model folder, as a stranger may have written them: size and depth are bounded, a
// key given twice is an error, and nothing recurses on what the file says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace longspan {

/// The file's value. Throws MissingInput, PermissionError or DataError, which name file and place.
nlohmann::json read_json_file(const std::filesystem::path& path);

/// The value of a text, within the same bounds; nothing, and what is wrong with the text in
/// `problem` ("is not JSON from byte 7 on"), when there is none.
std::optional<nlohmann::json> parse_json(std::string_view text, std::string& problem);

/// A value and where it stands, so that what is wrong with it can be named. Borrows both.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, const std::filesystem::path& file)
      : JsonView(value, file, "") {}

  const nlohmann::json& value() const { return *value_; }

  /// A member; at() throws DataError without it, find() gives nothing then, nor for null.
  JsonView at(std::string_view key) const;
  std::optional<JsonView> find(std::string_view key) const;
  /// An element of a list.
  JsonView element(std::size_t index) const;
  std::size_t elements() const;

  /// The value as a type; DataError when it is of another one.
  const std::string& text() const;
  bool flag() const;
  std::int64_t integer() const;
  void require_object() const;

  /// A member that may be absent or null.
  bool flag_or(std::string_view key, bool otherwise) const;

  /// Throws DataError: "FILE: key model.vocab PROBLEM".
  [[noreturn]] void fail(std::string_view problem) const;

 private:
  JsonView(const nlohmann::json& value, const std::filesystem::path& file, std::string key)
      : value_(&value), file_(&file), key_(std::move(key)) {}

  const nlohmann::json* value_;
  const std::filesystem::path* file_;
  std::string key_;  // "model.vocab"; empty for the whole file
};

}  // namespace longspan

// A config.json, read key by key: every number within bounds, and every key accounted for. A key
// that nobody read may change the mathematics, so it is refused, unless it is off (null, false).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "runtime/model/json_file.h"

namespace longspan {

/// A number, whole or not, in bounds. Throws DataError naming file and key.
double number_between(const JsonView& value, double low, double high);
std::int64_t integer_between(const JsonView& value, std::int64_t low, std::int64_t high);

class FolderKeys {
 public:
  explicit FolderKeys(const std::filesystem::path& path)
      : path_(path), json_(read_json_file(path)), root_(json_, path_) {}
  FolderKeys(const FolderKeys&) = delete;  // the view borrows
  FolderKeys& operator=(const FolderKeys&) = delete;

  /// Throws DataError: "FILE: PROBLEM".
  [[noreturn]] void fail(std::string_view problem) const { root_.fail(problem); }

  /// Each marks its key as read. Missing and null are the same; `require_` throws DataError then.
  std::optional<JsonView> find(std::string_view key);
  std::int64_t require_int(std::string_view key, std::int64_t low, std::int64_t high);
  std::int64_t int_or(std::string_view key, std::int64_t otherwise, std::int64_t low,
                      std::int64_t high);
  double number_or(std::string_view key, double otherwise, double low, double high);
  bool flag_or(std::string_view key, bool otherwise);

  /// Keys that no computation reads.
  void ignore(std::span<const std::string_view> keys);
  /// Throws DataError naming a key that nobody read and that is not off.
  void refuse_unread() const;

 private:
  std::filesystem::path path_;
  nlohmann::json json_;
  JsonView root_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace longspan

#include "runtime/model/folder_keys.h"

#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {

double number_between(const JsonView& value, double low, double high) {
  if (!value.value().is_number()) value.fail("is no number");
  const auto number = value.value().get<double>();
  if (number >= low && number <= high) return number;  // false for NaN
  value.fail(str("is {}; it must be {} to {}", number, low, high));
}

std::int64_t integer_between(const JsonView& value, std::int64_t low, std::int64_t high) {
  const std::int64_t number = value.integer();
  if (number >= low && number <= high) return number;
  value.fail(str("is {}; it must be {} to {}", number, low, high));
}

std::optional<JsonView> FolderKeys::find(std::string_view key) {
  read_.emplace(key);
  return root_.find(key);
}

std::int64_t FolderKeys::require_int(std::string_view key, std::int64_t low, std::int64_t high) {
  read_.emplace(key);
  return integer_between(root_.at(key), low, high);
}

std::int64_t FolderKeys::int_or(std::string_view key, std::int64_t otherwise, std::int64_t low,
                                std::int64_t high) {
  const auto value = find(key);
  return value ? integer_between(*value, low, high) : otherwise;
}

double FolderKeys::number_or(std::string_view key, double otherwise, double low, double high) {
  const auto value = find(key);
  return value ? number_between(*value, low, high) : otherwise;
}

bool FolderKeys::flag_or(std::string_view key, bool otherwise) {
  const auto value = find(key);
  return value ? value->flag() : otherwise;
}

void FolderKeys::ignore(std::span<const std::string_view> keys) {
  read_.insert(keys.begin(), keys.end());
}

void FolderKeys::refuse_unread() const {
  for (const auto& [key, value] : root_.value().items()) {
    const bool off = value.is_null() || (value.is_boolean() && !value.get<bool>());
    if (off || key.starts_with('_') || read_.contains(key)) continue;
    fail(
        str("{} is not a key longspan knows for this architecture, and it may change the "
            "mathematics",
            printable(key)));
  }
}

}  // namespace longspan

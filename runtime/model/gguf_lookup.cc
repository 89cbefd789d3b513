// Typed access to a GGUF file's metadata (gguf.h).
#include <string_view>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf.h"
#include "runtime/model/gguf_metadata.h"

namespace longspan {
namespace {

/// The value as T, or null when the key is absent.
template <typename T>
const T* find_as(const GgufFile& file, std::string_view key, std::string_view expected) {
  const auto entry = file.metadata().find(key);
  if (entry == file.metadata().end()) return nullptr;
  if (const T* value = std::get_if<T>(&entry->second)) return value;
  throw DataError(str("{}: key {} is {}; expected {}: convert the model again",
                      file.path().string(), key, kind_of(entry->second), expected));
}

template <typename Element>
const std::vector<Element>* find_array(const GgufFile& file, std::string_view key,
                                       std::string_view expected) {
  const auto* array = find_as<GgufFile::Array>(file, key, expected);
  if (array == nullptr) return nullptr;
  if (const auto* elements = std::get_if<std::vector<Element>>(array)) return elements;
  throw DataError(str("{}: key {} is {}; expected {}: convert the model again",
                      file.path().string(), key, kind_of(*array), expected));
}

template <typename T>
std::optional<T> copied(const T* value) {
  return value ? std::optional<T>(*value) : std::nullopt;
}

template <typename T>
T required(const GgufFile& file, std::string_view key, std::optional<T> value) {
  if (value) return *std::move(value);
  throw DataError(str("{}: key {} is missing: the file is not a complete model, convert it again",
                      file.path().string(), key));
}

}  // namespace

std::optional<std::int64_t> GgufFile::find_int(std::string_view key) const {
  const auto entry = metadata_.find(key);
  if (entry != metadata_.end()) {
    if (const auto* large = std::get_if<std::uint64_t>(&entry->second)) {
      throw DataError(
          str("{}: key {} is {}, which is out of range: the file is damaged, download "
              "it again",
              path().string(), key, *large));
    }
  }
  return copied(find_as<std::int64_t>(*this, key, "an integer"));
}

std::int64_t GgufFile::require_int(std::string_view key) const {
  return required(*this, key, find_int(key));
}

std::string GgufFile::require_string(std::string_view key) const {
  return required(*this, key, find_string(key));
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  return copied(find_as<double>(*this, key, "a floating-point number"));
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  return copied(find_as<bool>(*this, key, "a truth value"));
}

std::optional<std::string> GgufFile::find_string(std::string_view key) const {
  return copied(find_as<std::string>(*this, key, "a string"));
}

const std::vector<std::string>* GgufFile::find_strings(std::string_view key) const {
  return find_array<std::string>(*this, key, "an array of strings");
}

const std::vector<std::int64_t>* GgufFile::find_ints(std::string_view key) const {
  return find_array<std::int64_t>(*this, key, "an array of integers");
}

const std::vector<double>* GgufFile::find_floats(std::string_view key) const {
  return find_array<double>(*this, key, "an array of floating-point numbers");
}

}  // namespace longspan

#include "runtime/model/gguf_metadata.h"

#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::size_t kLongestName = 512;
constexpr std::uint64_t kMostElements = 1 << 24;

/// As the file writes them.
enum class ValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

ValueType read_type(GgufCursor& cursor) {
  const auto code = cursor.number<std::uint32_t>();
  if (code > static_cast<std::uint32_t>(ValueType::kFloat64)) {
    cursor.fail(
        str("has unknown value type {}: the file is damaged, or newer than this longspan", code));
  }
  return static_cast<ValueType>(code);
}

bool read_bool(GgufCursor& cursor) {
  const auto byte = cursor.number<std::uint8_t>();
  if (byte > 1) {
    cursor.fail(
        str("is a truth value of {}, not 0 or 1: the file is damaged, download it again", byte));
  }
  return byte == 1;
}

/// int64 unless only uint64 can hold it, so that most callers see one integer type.
GgufFile::Value integer(std::uint64_t value) {
  if (std::in_range<std::int64_t>(value)) return static_cast<std::int64_t>(value);
  return value;
}

template <typename Element, typename Read>
GgufFile::Array read_elements(GgufCursor& cursor, std::uint64_t bytes_each, Read read) {
  const std::uint64_t count = cursor.count(kMostElements, bytes_each, "array elements");
  std::vector<Element> elements;
  elements.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) elements.push_back(read(cursor));
  return elements;
}

template <typename T>
GgufFile::Array read_numbers(GgufCursor& cursor) {
  using Element = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;
  return read_elements<Element>(cursor, sizeof(T), [](GgufCursor& from) {
    const T value = from.number<T>();
    if constexpr (std::is_integral_v<T>) {
      if (!std::in_range<std::int64_t>(value)) from.fail(str("{} is out of range", value));
    }
    return static_cast<Element>(value);
  });
}

GgufFile::Array read_array(GgufCursor& cursor) {
  switch (read_type(cursor)) {
    case ValueType::kUint8:
      return read_numbers<std::uint8_t>(cursor);
    case ValueType::kInt8:
      return read_numbers<std::int8_t>(cursor);
    case ValueType::kUint16:
      return read_numbers<std::uint16_t>(cursor);
    case ValueType::kInt16:
      return read_numbers<std::int16_t>(cursor);
    case ValueType::kUint32:
      return read_numbers<std::uint32_t>(cursor);
    case ValueType::kInt32:
      return read_numbers<std::int32_t>(cursor);
    case ValueType::kUint64:
      return read_numbers<std::uint64_t>(cursor);
    case ValueType::kInt64:
      return read_numbers<std::int64_t>(cursor);
    case ValueType::kFloat32:
      return read_numbers<float>(cursor);
    case ValueType::kFloat64:
      return read_numbers<double>(cursor);
    case ValueType::kBool:
      return read_elements<bool>(cursor, 1, read_bool);
    case ValueType::kString:
      return read_elements<std::string>(cursor, 8, [](GgufCursor& from) { return from.string(); });
    case ValueType::kArray:
      break;
  }
  cursor.fail("is an array of arrays, which longspan does not read");
}

GgufFile::Value read_value(GgufCursor& cursor) {
  switch (read_type(cursor)) {
    case ValueType::kUint8:
      return integer(cursor.number<std::uint8_t>());
    case ValueType::kUint16:
      return integer(cursor.number<std::uint16_t>());
    case ValueType::kUint32:
      return integer(cursor.number<std::uint32_t>());
    case ValueType::kUint64:
      return integer(cursor.number<std::uint64_t>());
    case ValueType::kInt8:
      return std::int64_t{cursor.number<std::int8_t>()};
    case ValueType::kInt16:
      return std::int64_t{cursor.number<std::int16_t>()};
    case ValueType::kInt32:
      return std::int64_t{cursor.number<std::int32_t>()};
    case ValueType::kInt64:
      return cursor.number<std::int64_t>();
    case ValueType::kFloat32:
      return double{cursor.number<float>()};
    case ValueType::kFloat64:
      return cursor.number<double>();
    case ValueType::kBool:
      return read_bool(cursor);
    case ValueType::kString:
      return cursor.string();
    case ValueType::kArray:
      return read_array(cursor);
  }
  cursor.fail("has no value");
}

}  // namespace

std::string read_gguf_name(GgufCursor& cursor, std::string_view of_what) {
  std::string name = cursor.string();
  if (name.empty() || name.size() > kLongestName || !is_printable(name)) {
    cursor.fail(
        str("the name of {} is '{}' ({} bytes); names are 1 to {} printable characters: "
            "the file is damaged, download it again",
            of_what, printable(name), name.size(), kLongestName));
  }
  return name;
}

GgufMetadata read_gguf_metadata(GgufCursor& cursor, std::uint64_t keys) {
  GgufMetadata metadata;
  for (std::uint64_t i = 0; i < keys; ++i) {
    cursor.set_subject(str("key {} of {}", i + 1, keys));
    std::string key = read_gguf_name(cursor, "a key");
    cursor.set_subject(str("key {}", key));
    GgufFile::Value value = read_value(cursor);
    if (!metadata.emplace(std::move(key), std::move(value)).second) {
      cursor.fail("occurs twice: the file is damaged, convert the model again");
    }
  }
  return metadata;
}

std::string_view kind_of(const GgufFile::Value& value) {
  struct Kind {
    std::string_view operator()(std::int64_t) const { return "an integer"; }
    std::string_view operator()(std::uint64_t) const { return "an integer"; }
    std::string_view operator()(double) const { return "a floating-point number"; }
    std::string_view operator()(bool) const { return "a truth value"; }
    std::string_view operator()(const std::string&) const { return "a string"; }
    std::string_view operator()(const GgufFile::Array& array) const {
      return std::visit(*this, array);
    }
    std::string_view operator()(const std::vector<std::string>&) const {
      return "an array of strings";
    }
    std::string_view operator()(const std::vector<std::int64_t>&) const {
      return "an array of integers";
    }
    std::string_view operator()(const std::vector<double>&) const {
      return "an array of floating-point numbers";
    }
    std::string_view operator()(const std::vector<bool>&) const {
      return "an array of truth values";
    }
  };
  return std::visit(Kind{}, value);
}

}  // namespace longspan

#include "runtime/model/json_file.h"

#include <cerrno>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBytes = 256 << 20;  // the largest tokenizer in use has 33 MB
constexpr std::size_t kMostDepth = 32;

[[noreturn]] void fail_to_read(const std::filesystem::path& path, int error) {
  throw_read_error(error, str("{}: {}", path.string(), std::generic_category().message(error)));
}

std::string read_text(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (!file) fail_to_read(path, errno);
  std::string text;
  std::vector<char> part(1 << 20);
  errno = 0;
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), file.get())) {
    text.append(part.data(), count);
    if (text.size() > kMostBytes) {
      throw DataError(str("{}: has more than {} bytes, too many for a file of this kind",
                          path.string(), kMostBytes));
    }
  }
  if (std::ferror(file.get())) fail_to_read(path, errno);
  return text;
}

/// Builds a value out of the parser's events.
class Builder : public nlohmann::json_sax<json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    json& object = *open_.back();
    if (object.contains(name)) return refuse(str("key '{}' twice", printable(name)));
    next_ = &object[std::move(name)];
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem_ = str("is not JSON from byte {} on", byte);
    return false;
  }

  const std::string& problem() const { return problem_; }
  json take() { return std::move(root_); }

 private:
  template <typename Value>
  bool add(Value&& value) {
    place() = std::forward<Value>(value);
    return true;
  }
  json& place() {
    if (open_.empty()) return root_;
    if (open_.back()->is_array()) return open_.back()->emplace_back();
    return *next_;
  }
  bool open(json empty) {
    if (open_.size() == kMostDepth) return refuse(str("values nested {} deep", kMostDepth + 1));
    json& placed = place();
    placed = std::move(empty);
    open_.push_back(&placed);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool refuse(const std::string& what) {
    problem_ = "has " + what;
    return false;
  }

  json root_;
  std::vector<json*> open_;  // a container moves only while a later element is added to its parent
  json* next_ = nullptr;     // where the value of the last key goes
  std::string problem_;
};

std::string_view kind_of(const json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a truth value";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a fraction";
  if (value.is_string()) return "a string";
  return value.is_array() ? "a list" : "an object";
}

}  // namespace

json read_json_file(const std::filesystem::path& path) {
  std::string problem;
  if (auto value = parse_json(read_text(path), problem)) return *std::move(value);
  throw DataError(str("{}: {}: the file is damaged, download it again", path.string(), problem));
}

std::optional<json> parse_json(std::string_view text, std::string& problem) {
  Builder builder;
  if (json::sax_parse(text, &builder)) return builder.take();
  problem = builder.problem();
  return std::nullopt;
}

void JsonView::fail(std::string_view problem) const {
  throw DataError(key_.empty() ? str("{}: {}", file_->string(), problem)
                               : str("{}: key {} {}", file_->string(), key_, problem));
}

void JsonView::require_object() const {
  if (!value_->is_object()) fail(str("is {}; expected an object", kind_of(*value_)));
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  require_object();
  const auto member = value_->find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return JsonView(*member, *file_, key_.empty() ? printable(key) : key_ + "." + printable(key));
}

JsonView JsonView::at(std::string_view key) const {
  if (auto member = find(key)) return *std::move(member);
  fail(str("has no {}: the file is not complete, download it again", printable(key)));
}

std::size_t JsonView::elements() const {
  if (!value_->is_array()) fail(str("is {}; expected a list", kind_of(*value_)));
  return value_->size();
}

JsonView JsonView::element(std::size_t index) const {
  expects(index < elements(), "an element of the list");
  return {(*value_)[index], *file_, str("{}[{}]", key_, index)};
}

const std::string& JsonView::text() const {
  if (!value_->is_string()) fail(str("is {}; expected a string", kind_of(*value_)));
  return value_->get_ref<const std::string&>();
}

bool JsonView::flag() const {
  if (!value_->is_boolean()) fail(str("is {}; expected true or false", kind_of(*value_)));
  return value_->get<bool>();
}

std::int64_t JsonView::integer() const {
  if (!value_->is_number_integer()) fail(str("is {}; expected an integer", kind_of(*value_)));
  if (value_->is_number_unsigned() &&
      value_->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    fail(str("is {}, which is out of range", value_->get<std::uint64_t>()));
  }
  return value_->get<std::int64_t>();
}

bool JsonView::flag_or(std::string_view key, bool otherwise) const {
  const auto member = find(key);
  return member ? member->flag() : otherwise;
}

}  // namespace longspan

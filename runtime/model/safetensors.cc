#include "runtime/model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf_signature.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100 << 20;
constexpr std::size_t kMostTensors = 1 << 16;
constexpr std::size_t kLongestName = 512;
constexpr std::size_t kHighestRank = 8;
// Keeps every byte count far from overflow: no type needs more than 4 bytes per value.
constexpr std::uint64_t kMostValues = std::uint64_t{1} << 56;
constexpr std::string_view kDamaged = "the file is damaged, download it again";

std::optional<TensorType> find_type(std::string_view dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBF16;
  return std::nullopt;
}

/// One entry of the header, as far as it has been read.
struct Entry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;  // of the data
};

/// Hears the parser's events and keeps a list of entries. Whatever does not fit the format ends
/// the parse with a problem.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Entry> take() { return std::move(entries_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a truth value"); }
  bool number_integer(number_integer_t value) override { return unexpected(str("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected(printable(text));
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers) return unexpected(str("{}", value));
    if (numbers_.size() == kHighestRank) {
      return fail(str("{} has more than {} numbers", member_, kHighestRank));
    }
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kEntry || member_ != "dtype") return unexpected("a string");
    entries_.back().dtype = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) return move_to(Place::kHeader);
    if (place_ != Place::kHeader) return unexpected("an object");
    if (member_ == "__metadata__") return move_to(Place::kMetadata);
    entries_.push_back({.name = member_, .dtype = {}, .shape = {}, .offsets = {}});
    return move_to(Place::kEntry);
  }

  bool end_object() override {
    if (place_ == Place::kHeader) return move_to(Place::kEnd);
    const bool complete =
        place_ == Place::kMetadata ||
        (entries_.back().dtype && entries_.back().shape && entries_.back().offsets);
    if (!complete) return fail("lacks one of dtype, shape and data_offsets");
    return move_to(Place::kHeader);
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kEntry || (member_ != "shape" && member_ != "data_offsets")) {
      return unexpected("a list");
    }
    numbers_.clear();
    return move_to(Place::kNumbers);
  }

  bool end_array() override {
    Entry& entry = entries_.back();
    (member_ == "shape" ? entry.shape : entry.offsets) = std::move(numbers_);
    return move_to(Place::kEntry);
  }

  bool key(string_t& name) override {
    member_ = name;
    if (place_ == Place::kMetadata) return true;
    if (place_ == Place::kHeader) return begin_tensor();
    const Entry& entry = entries_.back();
    const bool again = (name == "dtype" && entry.dtype) || (name == "shape" && entry.shape) ||
                       (name == "data_offsets" && entry.offsets);
    if (again) return fail(str("has {} twice", name));
    if (name == "dtype" || name == "shape" || name == "data_offsets") return true;
    return fail(str("has an unknown member '{}'", printable(name)));
  }

  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem_ = str("the header is not JSON from its byte {} on", byte);
    return false;
  }

 private:
  enum class Place { kStart, kHeader, kMetadata, kEntry, kNumbers, kEnd };

  bool move_to(Place place) {
    place_ = place;
    return true;
  }
  bool begin_tensor() {
    if (member_.empty() || member_.size() > kLongestName || !is_printable(member_)) {
      return fail(str("a name of {} bytes; names have 1 to {} printable ones", member_.size(),
                      kLongestName));
    }
    if (!names_.insert(member_).second) return fail("occurs twice");
    if (names_.size() > kMostTensors) return fail(str("is one of more than {}", kMostTensors));
    return true;
  }
  bool unexpected(std::string_view what) { return fail(str("has {} where none belongs", what)); }
  bool fail(std::string_view problem) {
    const bool named = place_ == Place::kEntry || place_ == Place::kNumbers;
    problem_ = str("tensor {}: {}", printable(named ? entries_.back().name : member_), problem);
    return false;
  }

  Place place_ = Place::kStart;
  std::string member_;
  std::vector<std::uint64_t> numbers_;
  std::vector<Entry> entries_;
  std::set<std::string, std::less<>> names_;
  std::string problem_;
};

/// One file's header, whose failures name the file.
class Header {
 public:
  explicit Header(const ModelFile& file) : file_(file) {}

  std::vector<TensorInfo> tensors() {
    const std::string text = read();
    HeaderReader reader;
    if (!nlohmann::json::sax_parse(text, &reader)) fail(str("{}: {}", reader.problem(), kDamaged));
    data_ = kLengthBytes + text.size();
    std::vector<TensorInfo> tensors;
    for (const Entry& entry : reader.take()) tensors.push_back(checked(entry));
    std::ranges::sort(tensors, {}, &TensorInfo::offset);
    expect_dense(tensors);
    return tensors;
  }

 private:
  [[noreturn]] void fail(std::string_view problem) const {
    throw DataError(str("{}: {}", file_.path().string(), problem));
  }
  [[noreturn]] void fail(const std::string& tensor, std::string_view problem) const {
    fail(str("tensor {}: {}", tensor, problem));
  }

  std::string read() const {
    static_assert(std::endian::native == std::endian::little, "the length is little-endian");
    std::uint64_t length = 0;
    if (file_.bytes() <= kLengthBytes) {
      fail(str("not a safetensors file: it has {} bytes: download it again", file_.bytes()));
    }
    file_.read(0, std::as_writable_bytes(std::span(&length, 1)));
    const std::uint64_t most = std::min(kLongestHeader, file_.bytes() - kLengthBytes);
    if (length < 2 || length > most) {
      fail(
          str("its header should take {} bytes, of {} at most; the file looks like {}: download "
              "it again",
              length, most, likely_format(head())));
    }
    std::string text(length, '\0');
    file_.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
    if (text.front() != '{') {
      fail(str("its header begins with '{}', not with {{: {}", printable(text.substr(0, 8)),
               kDamaged));
    }
    return text;
  }

  std::string head() const {
    std::string head(std::min<std::uint64_t>(64, file_.bytes()), '\0');
    file_.read(0, std::as_writable_bytes(std::span(head)));
    return head;
  }

  TensorInfo checked(const Entry& entry) const {
    TensorInfo tensor;
    tensor.name = entry.name;
    const auto type = find_type(*entry.dtype);
    if (!type) {
      fail(entry.name, str("is of type {}; longspan reads F32, F16 and BF16: use a folder with "
                           "weights of one of these",
                           printable(*entry.dtype)));
    }
    tensor.type = *type;
    std::uint64_t values = 1;
    for (const std::uint64_t size : *entry.shape) {
      if (size == 0 || size > kMostValues / values) {
        fail(entry.name, str("has a dimension of {} after {} values: {}", size, values, kDamaged));
      }
      values *= size;
      tensor.shape.push_back(static_cast<std::int64_t>(size));
    }
    tensor.bytes = byte_size(tensor.type, static_cast<std::int64_t>(values));
    tensor.offset = place(entry, tensor.bytes);
    return tensor;
  }

  std::uint64_t place(const Entry& entry, std::uint64_t bytes) const {
    const std::vector<std::uint64_t>& offsets = *entry.offsets;
    const std::uint64_t room = file_.bytes() - data_;
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fail(entry.name, str("its data_offsets are no interval: {}", kDamaged));
    }
    if (offsets[1] - offsets[0] != bytes) {
      fail(entry.name, str("has {} bytes of data, but its shape and type need {}: {}",
                           offsets[1] - offsets[0], bytes, kDamaged));
    }
    if (offsets[1] > room) {
      fail(entry.name, str("ends at byte {} of the data, but the file has only {}: the file is "
                           "truncated, download it again",
                           offsets[1], room));
    }
    return data_ + offsets[0];
  }

  /// Back to back, from the first byte of the data to the file's last.
  void expect_dense(const std::vector<TensorInfo>& tensors) const {
    std::uint64_t end = data_;
    for (const TensorInfo& tensor : tensors) {
      if (tensor.offset != end) {
        fail(tensor.name,
             str("begins at byte {}, but the data before it ends at {} ({}): {}", tensor.offset,
                 end, tensor.offset < end ? "overlap" : "gap", kDamaged));
      }
      end += tensor.bytes;
    }
    if (end == file_.bytes()) return;
    fail(str("the tensors end at byte {}, but the file at {}: {}", end, file_.bytes(), kDamaged));
  }

  const ModelFile& file_;
  std::uint64_t data_ = 0;  // where it begins
};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), tensors_(Header(file_).tensors()) {}

}  // namespace longspan

#include "runtime/model/gguf_cursor.h"

#include <algorithm>
#include <cstring>

#include "comm/error.h"
#include "comm/file_io.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::uint64_t kWindow = 1 << 20;
// The largest vocabularies in use (256k tokens) need about 12 MiB.
constexpr std::uint64_t kLongestHeader = 100 << 20;

}  // namespace

void read_exactly(int fd, const std::filesystem::path& path, std::uint64_t offset,
                  std::span<std::byte> into) {
  const FileTransfer done = read_at(fd, offset, into);
  if (done.error != 0) {
    throw IoError(str("{}: cannot read {} bytes at byte {}: {}", path.string(),
                      into.size() - done.bytes, offset + done.bytes, std::strerror(done.error)));
  }
  if (done.bytes == into.size()) return;
  throw DataError(
      str("{}: the file ends at byte {}, it has become shorter while in use: download it again",
          path.string(), offset + done.bytes));
}

GgufCursor::GgufCursor(int fd, const std::filesystem::path& path, std::uint64_t file_bytes)
    : fd_(fd), path_(path), file_bytes_(file_bytes), limit_(std::min(file_bytes, kLongestHeader)) {}

void GgufCursor::fail(std::string_view problem) const {
  throw DataError(str("{}: {}: {}", path_.string(), subject_, problem));
}

void GgufCursor::require(std::uint64_t bytes) const {
  if (bytes <= remaining()) return;
  if (limit_ == file_bytes_) {
    fail(
        str("needs {} bytes at byte {}, but the file has {}: the file is truncated or damaged, "
            "download it again",
            bytes, position_, file_bytes_));
  }
  fail(
      str("needs {} bytes at byte {}, but a header has at most {} bytes: the file is damaged, "
          "download it again",
          bytes, position_, kLongestHeader));
}

std::span<const std::byte> GgufCursor::window_rest() {
  if (position_ >= window_start_ + window_.size()) {
    window_start_ = position_;
    window_.resize(std::min(kWindow, remaining()));
    read_exactly(fd_, path_, window_start_, window_);
  }
  return std::span<const std::byte>(window_).subspan(position_ - window_start_);
}

void GgufCursor::copy(std::span<std::byte> into) {
  require(into.size());
  while (!into.empty()) {
    const auto rest = window_rest();
    const std::size_t bytes = std::min(rest.size(), into.size());
    std::memcpy(into.data(), rest.data(), bytes);
    into = into.subspan(bytes);
    position_ += bytes;
  }
}

std::string GgufCursor::string() {
  const auto bytes = number<std::uint64_t>();
  require(bytes);
  std::string text(bytes, '\0');
  copy(std::as_writable_bytes(std::span(text)));
  return text;
}

std::uint64_t GgufCursor::count(std::uint64_t most, std::uint64_t smallest,
                                std::string_view of_what) {
  const auto count = number<std::uint64_t>();
  if (count > most || count > remaining() / smallest) {
    fail(
        str("announces {} {}, but {} bytes are left and {} are the most longspan reads: the file "
            "is truncated or damaged, download it again",
            count, of_what, remaining(), most));
  }
  return count;
}

std::string GgufCursor::peek(std::size_t bytes) {
  if (remaining() == 0) return {};
  const auto rest = window_rest();
  const auto* text = reinterpret_cast<const char*>(rest.data());
  return {text, std::min(rest.size(), bytes)};
}

}  // namespace longspan

// Reads a file header front to back, and never past what the file or the limit allows.
//
// The header is read in windows of 1 MiB, so a 400 GB file costs no more than its header does, and
// nothing is mapped: a file that shrinks under us is an error message, not a SIGBUS.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace longspan {

class GgufCursor {
 public:
  /// Borrows the open file `fd` and the path, which errors name.
  GgufCursor(int fd, const std::filesystem::path& path, std::uint64_t file_bytes);

  std::uint64_t position() const { return position_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  /// Bytes the header may still have.
  std::uint64_t remaining() const { return limit_ - position_; }

  /// What error messages say was being read.
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  const std::string& subject() const { return subject_; }

  template <typename T>
    requires std::is_arithmetic_v<T>
  T number() {
    static_assert(std::endian::native == std::endian::little, "GGUF numbers are little-endian");
    T value;
    copy(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  /// A 64-bit length and that many bytes.
  std::string string();
  /// A 64-bit count of things of at least `smallest` bytes each: refused unless it is at most
  /// `most` and the rest of the header could hold it. Safe to allocate for.
  std::uint64_t count(std::uint64_t most, std::uint64_t smallest, std::string_view of_what);
  /// The next bytes, fewer near the end; the position stays.
  std::string peek(std::size_t bytes);

  /// Throws DataError: file, subject, problem.
  [[noreturn]] void fail(std::string_view problem) const;

 private:
  void copy(std::span<std::byte> into);
  void require(std::uint64_t bytes) const;
  /// Bytes at `position_` that lie in the window; reads a new window when there are none.
  std::span<const std::byte> window_rest();

  int fd_;
  const std::filesystem::path& path_;
  std::uint64_t file_bytes_;
  std::uint64_t limit_;
  std::uint64_t position_ = 0;
  std::uint64_t window_start_ = 0;
  std::vector<std::byte> window_;
  std::string subject_ = "the header";
};

/// Reads exactly `into.size()` bytes at `offset`. Throws IoError, or DataError when the file ends
/// before.
void read_exactly(int fd, const std::filesystem::path& path, std::uint64_t offset,
                  std::span<std::byte> into);

}  // namespace longspan

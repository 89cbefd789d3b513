// A file descriptor that closes itself, and what its failures are called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace longspan {

class OpenFile {
 public:
  /// `flags`: of open(2). Throws MissingInput, PermissionError or IoError, which name the file.
  OpenFile(std::filesystem::path path, int flags);
  ~OpenFile();
  OpenFile(OpenFile&& other) noexcept;
  OpenFile& operator=(OpenFile&& other) noexcept;

  int descriptor() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }
  /// Throws UsageError unless it is a regular file, one that can be read again from any place.
  void expect_regular() const;
  std::int64_t bytes() const;

  /// Bytes read at `offset`, fewer only at the file's end. Throws IoError.
  std::size_t read(std::int64_t offset, std::span<char> bytes) const;
  /// All of `text`. Throws as fail().
  void write(std::int64_t offset, std::string_view text) const;
  /// Cut or grown to `bytes`. Throws as fail().
  void resize(std::int64_t bytes) const;
  /// Waits until what was written would survive a power cut. Throws as fail().
  void sync() const;

  /// What errno says of something that was tried: IoError, or PermissionError.
  [[noreturn]] void fail(std::string_view tried, int error) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// Puts `text` at `path` whole or not at all, so that it survives a power cut. Throws as fail().
void replace_file(const std::filesystem::path& path, std::string_view text);

/// Makes `from` what `to` names, so that it survives a power cut. Throws as fail().
void rename_durably(const OpenFile& from, const std::filesystem::path& to);

}  // namespace longspan

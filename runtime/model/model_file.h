// An open file of a model: read, never mapped, so that one which shrinks under us is an error
// message and no SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace longspan {

class ModelFile {
 public:
  /// Throws MissingInput, PermissionError, IoError, or DataError when `path` is no regular file or
  /// is empty.
  explicit ModelFile(const std::filesystem::path& path);
  ~ModelFile();
  ModelFile(ModelFile&& other) noexcept;
  ModelFile& operator=(ModelFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return fd_; }
  std::uint64_t bytes() const { return bytes_; }

  /// Exactly `into.size()` bytes at `offset`. Throws IoError, or DataError when the file ends
  /// before.
  void read(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  ModelFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::filesystem::path path_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
};

}  // namespace longspan

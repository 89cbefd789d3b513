// Files of a session: read by whoever may, written by their owner alone (mode 0600).
//
// A draft is a new file that goes with its object unless it is kept: whatever fails while it is
// written leaves nothing behind, and touches no file that was there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "comm/device.h"

namespace longspan {

class SessionFile {
 public:
  /// Opens to read. Throws MissingInput, PermissionError, IoError, or DataError for what is no
  /// regular file.
  explicit SessionFile(std::filesystem::path path);
  ~SessionFile();
  SessionFile(const SessionFile&) = delete;
  SessionFile& operator=(const SessionFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t bytes() const { return bytes_; }
  /// Exactly `into.size()` bytes at `offset`. Throws IoError, or DataError when the file ends
  /// before.
  void read(std::uint64_t offset, Bytes into) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
};

class SessionDraft {
 public:
  /// Makes a file of that name, which nobody has yet. Throws MissingInput where there is no such
  /// folder, PermissionError or IoError.
  explicit SessionDraft(std::filesystem::path path);
  /// Removes the file, unless it was kept.
  ~SessionDraft();
  SessionDraft(const SessionDraft&) = delete;
  SessionDraft& operator=(const SessionDraft&) = delete;

  /// At the end. Throws IoError, which says so where the disk is full.
  void append(ConstBytes bytes);
  /// The file stays, under its own name, with what was appended on the disk. Throws IoError.
  void keep();
  /// The same, under the name of `path`, whose file it replaces at once. Throws IoError.
  void keep_as(const std::filesystem::path& path);

 private:
  [[noreturn]] void fail(std::string_view tried) const;
  void sync() const;

  std::filesystem::path path_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;  // that were appended
  bool kept_ = false;
};

}  // namespace longspan

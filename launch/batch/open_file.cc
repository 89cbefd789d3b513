#include "launch/batch/open_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/file_io.h"
#include "comm/str.h"

namespace longspan {

OpenFile::OpenFile(std::filesystem::path path, int flags) : path_(std::move(path)) {
  fd_ = open(path_.c_str(), flags | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
  const int error = errno;
  if (error != ENOENT && error != ENOTDIR) fail("cannot be opened", error);
  const char* fix = flags & O_CREAT ? "make its folder first" : "check the path";
  throw MissingInput(str("{}: {}; {}", path_.string(), std::strerror(error), fix));
}

OpenFile::~OpenFile() {
  if (fd_ >= 0) close(fd_);
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

void OpenFile::fail(std::string_view tried, int error) const {
  throw_write_error(error, str("{}: {}: {}", path_.string(), tried, std::strerror(error)));
}

void OpenFile::expect_regular() const {
  struct stat status = {};
  if (fstat(fd_, &status) != 0) fail("cannot be looked at", errno);
  if (S_ISREG(status.st_mode)) return;
  throw UsageError(
      str("{}: is no regular file; a batch is read again, and answers are put in order: "
          "name a file for each",
          path_.string()));
}

std::int64_t OpenFile::bytes() const {
  struct stat status = {};
  if (fstat(fd_, &status) != 0) fail("cannot be looked at", errno);
  return status.st_size;
}

std::size_t OpenFile::read(std::int64_t offset, std::span<char> bytes) const {
  const FileTransfer done =
      read_at(fd_, static_cast<std::uint64_t>(offset), std::as_writable_bytes(bytes));
  if (done.error != 0) fail("cannot be read", done.error);
  return done.bytes;
}

void OpenFile::write(std::int64_t offset, std::string_view text) const {
  const int error =
      write_at(fd_, static_cast<std::uint64_t>(offset), std::as_bytes(std::span(text))).error;
  if (error != 0) fail("cannot be written", error);
}

void OpenFile::resize(std::int64_t bytes) const {
  if (ftruncate(fd_, bytes) != 0) fail("cannot be cut", errno);
}

void OpenFile::sync() const {
  if (fdatasync(fd_) != 0) fail("cannot be brought to the disk", errno);
}

void replace_file(const std::filesystem::path& path, std::string_view text) {
  const OpenFile draft(path.string() + ".tmp", O_WRONLY | O_CREAT | O_TRUNC);
  try {
    draft.write(0, text);
    rename_durably(draft, path);
  } catch (...) {
    unlink(draft.path().c_str());
    throw;
  }
}

void rename_durably(const OpenFile& from, const std::filesystem::path& to) {
  from.sync();
  if (std::rename(from.path().c_str(), to.c_str()) != 0) from.fail("cannot be renamed", errno);
  // The name is the folder's: without this a power cut may bring the old file back.
  OpenFile(to.has_parent_path() ? to.parent_path() : ".", O_RDONLY | O_DIRECTORY).sync();
}

}  // namespace longspan

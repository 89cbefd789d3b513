#include "runtime/session/session_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "comm/error.h"
#include "comm/file_error.h"
#include "comm/file_io.h"
#include "comm/str.h"

namespace longspan {
namespace {

[[noreturn]] void fail_at(const std::filesystem::path& path, std::string_view tried, int error) {
  throw_read_error(error, str("{}: {}: {}", path.string(), tried, std::strerror(error)));
}

bool is_out_of_space(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

/// The name is the folder's: without this a power cut may bring the old file back.
void sync_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_at(folder, "cannot be opened", errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error != 0 && error != EINVAL) fail_at(folder, "cannot be brought to the disk", error);
}

}  // namespace

SessionFile::SessionFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe that nobody writes must not hang.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail_at(path_, "cannot be opened", errno);
  struct stat status = {};
  if (fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) {
    bytes_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  close(fd_);
  throw DataError(str("{}: is no regular file, so it is no session", path_.string()));
}

SessionFile::~SessionFile() { close(fd_); }

void SessionFile::read(std::uint64_t offset, Bytes into) const {
  const FileTransfer done = read_at(fd_, offset, into);
  if (done.error != 0) fail_at(path_, "cannot be read", done.error);
  if (done.bytes == into.size()) return;
  throw DataError(str("{}: ends at byte {}, where more should follow: it was cut short",
                      path_.string(), offset + done.bytes));
}

SessionDraft::SessionDraft(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) fail("cannot be made");
}

SessionDraft::~SessionDraft() {
  close(fd_);
  if (!kept_) unlink(path_.c_str());
}

void SessionDraft::fail(std::string_view tried) const { fail_at(path_, tried, errno); }

void SessionDraft::append(ConstBytes bytes) {
  const FileTransfer done = write_at(fd_, bytes_, bytes);
  bytes_ += done.bytes;
  if (is_out_of_space(done.error)) {
    throw IoError(
        str("{}: the session cannot be saved, there is no room left: {}; what was "
            "saved before is as it was",
            path_.string(), std::strerror(done.error)));
  }
  if (done.error != 0) fail_at(path_, "cannot be written", done.error);
}

void SessionDraft::sync() const {
  if (fsync(fd_) != 0) fail("cannot be brought to the disk");
}

void SessionDraft::keep() {
  sync();
  sync_folder_of(path_);
  kept_ = true;
}

void SessionDraft::keep_as(const std::filesystem::path& path) {
  sync();
  if (std::rename(path_.c_str(), path.c_str()) != 0) fail("cannot be renamed");
  kept_ = true;
  sync_folder_of(path);
}

}  // namespace longspan

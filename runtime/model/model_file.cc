#include "runtime/model/model_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf_cursor.h"

namespace longspan {
namespace {

int open_to_read(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes must not hang.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) return fd;
  const std::string why = str("{}: cannot open the model: {}", path.string(), std::strerror(errno));
  if (errno == ENOENT || errno == ENOTDIR) throw MissingInput(why + "; check the path");
  if (errno == EACCES || errno == EPERM) throw PermissionError(why + "; make the file readable");
  throw IoError(why);
}

std::uint64_t regular_file_bytes(int fd, const std::filesystem::path& path) {
  struct stat status{};
  if (fstat(fd, &status) != 0) {
    throw IoError(str("{}: cannot ask its size: {}", path.string(), std::strerror(errno)));
  }
  if (S_ISDIR(status.st_mode)) {
    throw DataError(str("{}: a folder; name the .gguf file in it", path.string()));
  }
  if (!S_ISREG(status.st_mode)) {
    throw DataError(str("{}: not a regular file; longspan reads models from disk", path.string()));
  }
  if (status.st_size == 0) {
    throw DataError(str("{}: the file is empty: download it again", path.string()));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

// Delegating: once the private constructor is done, a throw from here runs the destructor.
ModelFile::ModelFile(const std::filesystem::path& path) : ModelFile(path, open_to_read(path)) {
  bytes_ = regular_file_bytes(fd_, path_);
}

ModelFile::~ModelFile() {
  if (fd_ >= 0) close(fd_);
}

ModelFile::ModelFile(ModelFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

ModelFile& ModelFile::operator=(ModelFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void ModelFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  read_exactly(fd_, path_, offset, into);
}

}  // namespace longspan

#include "runtime/model/gguf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf_cursor.h"
#include "runtime/model/gguf_metadata.h"
#include "runtime/model/gguf_signature.h"
#include "runtime/model/gguf_tensor_table.h"

namespace longspan {
namespace {

// Far above any model's, and what an entry takes at least: length, one character, type, one byte;
// length, one character, rank, one dimension, type, offset.
constexpr std::uint64_t kMostKeys = 1 << 16;
constexpr std::uint64_t kSmallestKey = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMostTensors = 1 << 16;
constexpr std::uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;

constexpr std::int64_t kDefaultAlignment = 32;

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
GgufFile::GgufFile(const std::filesystem::path& path) : GgufFile(path, open_to_read(path)) {
  read_header();
}

GgufFile::~GgufFile() {
  if (fd_ >= 0) close(fd_);
}

GgufFile::GgufFile(GgufFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      file_bytes_(other.file_bytes_),
      metadata_(std::move(other.metadata_)),
      tensors_(std::move(other.tensors_)) {}

GgufFile& GgufFile::operator=(GgufFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(file_bytes_, other.file_bytes_);
  std::swap(metadata_, other.metadata_);
  std::swap(tensors_, other.tensors_);
  return *this;
}

void GgufFile::read_header() {
  file_bytes_ = regular_file_bytes(fd_, path_);
  GgufCursor cursor(fd_, path_, file_bytes_);
  read_gguf_signature(cursor);
  const std::uint64_t tensors = cursor.count(kMostTensors, kSmallestTensor, "tensors");
  const std::uint64_t keys = cursor.count(kMostKeys, kSmallestKey, "keys");
  metadata_ = read_gguf_metadata(cursor, keys);
  refuse_split();
  tensors_ = read_gguf_tensor_table(cursor, tensors, alignment());
}

void GgufFile::refuse_split() const {
  const std::int64_t parts = find_int("split.count").value_or(1);
  if (parts <= 1) return;
  throw DataError(
      str("{}: one of {} parts of a split model; merge them into one file first "
          "(llama-gguf-split --merge)",
          path_.string(), parts));
}

std::uint64_t GgufFile::alignment() const {
  const std::int64_t bytes = find_int("general.alignment").value_or(kDefaultAlignment);
  if (bytes < 8 || bytes > 65536 || !std::has_single_bit(static_cast<std::uint64_t>(bytes))) {
    throw DataError(
        str("{}: general.alignment is {}; it must be a power of two from 8 to 65536: "
            "the file is damaged, download it again",
            path_.string(), bytes));
  }
  return static_cast<std::uint64_t>(bytes);
}

const TensorInfo* GgufFile::find(std::string_view tensor_name) const {
  const auto found = std::ranges::find(tensors_, tensor_name, &TensorInfo::name);
  return found == tensors_.end() ? nullptr : &*found;
}

void GgufFile::read(const TensorInfo& tensor, std::span<std::byte> into) const {
  expects(into.size() == tensor.bytes, "room for exactly the tensor's bytes");
  read_exactly(fd_, path_, tensor.offset, into);
}

}  // namespace longspan

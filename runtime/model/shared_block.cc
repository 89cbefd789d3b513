#include "runtime/model/shared_block.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/shared_work.h"

namespace longspan {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr int kCollapse = 25;  // MADV_COLLAPSE: Linux 6.1; older ones refuse it

void* expect_mapped(void* start, std::size_t bytes) {
  if (start == MAP_FAILED) {
    throw OutOfMemory(str("cannot map {} bytes for weights: {}", bytes, std::strerror(errno)));
  }
  return start;
}

/// Weights are read front to back at every step: they begin where a large page may, so that the
/// system can give them fewer, larger pages.
Bytes map_or_throw(int fd, std::size_t bytes, int protection, int flags) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t mapped = (bytes + page - 1) / page * page, room = mapped + kHugePage;
  auto* const reserved = static_cast<std::byte*>(expect_mapped(
      mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), room));
  void* start = reserved;
  std::size_t left = room;
  std::align(kHugePage, mapped, start, left);
  auto* const end = static_cast<std::byte*>(start) + mapped;
  if (start != reserved) munmap(reserved, room - left);
  if (end != reserved + room) munmap(end, left - mapped);
  void* const memory = mmap(start, bytes, protection, flags | MAP_FIXED, fd, 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    munmap(start, mapped);
    errno = error;
  }
  expect_mapped(memory, bytes);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), bytes};
}

/// Each large page of `memory`, which begins with one, on one thread.
void for_large_pages(Bytes memory, int threads, const std::function<void(Bytes page)>& work) {
  share_work((memory.size() + kHugePage - 1) / kHugePage, threads, [&](std::size_t page, int) {
    const std::size_t begin = page * kHugePage;
    work(memory.subspan(begin, std::min(kHugePage, memory.size() - begin)));
  });
}

}  // namespace

Mapping::Mapping(int fd, std::size_t bytes, bool writable)
    : bytes_(map_or_throw(fd, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED)) {}

Mapping Mapping::anonymous(std::size_t bytes) {
  return Mapping(map_or_throw(-1, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
}

Mapping::Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

void Mapping::populate() const {
#ifdef MADV_POPULATE_READ
  madvise(bytes_.data(), bytes_.size(), MADV_POPULATE_READ);
#endif
}

void Mapping::populate_for_writing(int threads) const {
#ifdef MADV_POPULATE_WRITE
  for_large_pages(bytes_, threads,
                  [](Bytes page) { madvise(page.data(), page.size(), MADV_POPULATE_WRITE); });
#endif
}

void Mapping::make_read_only() const { mprotect(bytes_.data(), bytes_.size(), PROT_READ); }

BlockFile BlockFile::memory(std::size_t bytes) {
  const int fd = memfd_create("longspan weights", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  BlockFile file(fd, bytes, str("/proc/{}/fd/{}", getpid(), fd));
  // A reader of a file that shrinks dies of SIGBUS: the size is settled before anyone maps it.
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    throw OutOfMemory(
        str("cannot make {} bytes of shared memory for weights: {}", bytes, std::strerror(errno)));
  }
  return file;
}

void BlockFile::use_large_pages(int threads) const {
  const Mapping mapping = map_writable();
  const Bytes memory = mapping.bytes();
  for_large_pages(memory, threads, [](Bytes page) {
    // What holds nothing is not collapsed; what holds one small page costs no more than clearing
    // the large one, which the first writes would have to do anyway.
    *const_cast<volatile std::byte*>(&page.front()) = std::byte{0};
    madvise(page.data(), page.size(), kCollapse);
  });
}

std::optional<BlockFile> BlockFile::try_temporary(std::size_t bytes) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = str("{}/longspan-weights-XXXXXX", folder && *folder ? folder : "/tmp");
  const int fd = mkostemp(path.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return std::nullopt;
  BlockFile file(fd, bytes, path);
  file.named_ = true;
  // Reserved, since a write to a mapped page finds a full disk as SIGBUS.
  if (posix_fallocate(fd, 0, static_cast<off_t>(bytes)) != 0) return std::nullopt;
  return file;
}

BlockFile::BlockFile(BlockFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      bytes_(other.bytes_),
      path_(std::move(other.path_)),
      named_(std::exchange(other.named_, false)) {}

BlockFile& BlockFile::operator=(BlockFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  std::swap(path_, other.path_);
  std::swap(named_, other.named_);
  return *this;
}

BlockFile::~BlockFile() {
  unlink();
  if (fd_ >= 0) close(fd_);
}

std::uint64_t BlockFile::inode() const {
  struct stat status{};
  fstat(fd_, &status);
  return status.st_ino;
}

void BlockFile::unlink() {
  if (std::exchange(named_, false)) ::unlink(path_.c_str());
}

Mapping BlockFile::seal_and_map() const {
  // Refused for a file that is no memfd; its mode and its missing name protect that one.
  fcntl(fd_, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL);
  // Opened again: a sealed file cannot be mapped, even for reading, through a descriptor that may
  // write (Linux before 6.7).
  const int reader = open(str("/proc/self/fd/{}", fd_).c_str(), O_RDONLY | O_CLOEXEC);
  Mapping mapping(reader < 0 ? fd_ : reader, bytes_, false);
  if (reader >= 0) close(reader);
  return mapping;
}

std::optional<Mapping> try_map_block(const std::string& path, std::size_t bytes,
                                     std::uint64_t inode) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  struct stat status{};
  const bool same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == inode &&
                    static_cast<std::size_t>(status.st_size) == bytes;
  std::optional<Mapping> mapping;
  if (same) mapping.emplace(fd, bytes, false);
  close(fd);
  return mapping;
}

}  // namespace longspan

#include "comm/file_io.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

namespace longspan {
namespace {

// One call moves at most 2 GiB on Linux; smaller pieces also notice a lost disk sooner.
constexpr std::size_t kPiece = 64 << 20;

/// By pread() or pwrite(), until nothing is left or nothing moves.
template <typename Move, typename Byte>
FileTransfer move_all(Move&& move, int fd, std::uint64_t offset, std::span<Byte> bytes) {
  FileTransfer done;
  while (done.bytes < bytes.size()) {
    const std::span<Byte> rest = bytes.subspan(done.bytes);
    const ssize_t count = move(fd, rest.data(), std::min(rest.size(), kPiece),
                               static_cast<off_t>(offset + done.bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) done.error = errno;
    if (count <= 0) break;
    done.bytes += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace

FileTransfer read_at(int fd, std::uint64_t offset, Bytes into) {
  return move_all(::pread, fd, offset, into);
}

FileTransfer write_at(int fd, std::uint64_t offset, ConstBytes bytes) {
  FileTransfer done = move_all(::pwrite, fd, offset, bytes);
  if (done.error == 0 && done.bytes < bytes.size()) done.error = ENOSPC;
  return done;
}

}  // namespace longspan

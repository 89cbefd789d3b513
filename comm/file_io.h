// All of a buffer from or to a place in an open file, whatever pieces the system moves it in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/device.h"

namespace longspan {

/// How far it got, and why no further.
struct FileTransfer {
  std::size_t bytes = 0;
  int error = 0;  // errno's; 0 where all went, or the file that is read has no more
};

/// The bytes at `offset`: fewer than `into` has only where the file ends or reading fails.
FileTransfer read_at(int fd, std::uint64_t offset, Bytes into);
/// All of `bytes`, or an error. A place that takes no more is ENOSPC.
FileTransfer write_at(int fd, std::uint64_t offset, ConstBytes bytes);

}  // namespace longspan

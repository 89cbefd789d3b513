// Memory that one rank fills and the other ranks of its host read.
//
// A block is a file without a name: a memfd, or an unlinked file where the others cannot reach a
// memfd. POSIX shared memory would be a third way, but containers cap /dev/shm at 64 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "comm/device.h"

namespace longspan {

/// Bytes mapped into this process.
class Mapping {
 public:
  Mapping() = default;
  /// Shared with whoever maps the same file. Throws OutOfMemory.
  Mapping(int fd, std::size_t bytes, bool writable);
  /// Memory of this process alone. Throws OutOfMemory.
  static Mapping anonymous(std::size_t bytes);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  Bytes bytes() const { return bytes_; }
  /// Maps every page now, so that the first step does not fault them in one by one. A hint.
  void populate() const;
  /// Of memory that will be written: takes every page now, on `threads` threads. Threads that write
  /// side by side meet in a large page, and then each clears one, of which all but one are thrown
  /// away. A hint.
  void populate_for_writing(int threads) const;
  /// Writing becomes an error from here on.
  void make_read_only() const;

 private:
  explicit Mapping(Bytes bytes) : bytes_(bytes) {}
  Bytes bytes_;
};

/// The file behind a block, on the rank that fills it.
class BlockFile {
 public:
  /// A memfd of `bytes` zeros whose size cannot change any more. Throws OutOfMemory.
  static BlockFile memory(std::size_t bytes);
  /// A file in $TMPDIR (or /tmp) with its space reserved; nothing when there is no room for it.
  static std::optional<BlockFile> try_temporary(std::size_t bytes);

  BlockFile(BlockFile&& other) noexcept;
  BlockFile& operator=(BlockFile&& other) noexcept;
  ~BlockFile();

  /// How another process of this host opens it.
  const std::string& path() const { return path_; }
  std::size_t bytes() const { return bytes_; }
  std::uint64_t inode() const;
  Mapping map_writable() const { return {fd_, bytes_, true}; }
  /// Gives a memfd that nobody has written to yet its memory in large pages, whatever the system
  /// does with shared memory by itself (its default is small ones): ranks then read weights through
  /// fewer translations, and filling them faults less. Clearing them is most of that work, and
  /// shared by `threads` threads. A hint: Linux before 6.1 ignores it.
  void use_large_pages(int threads) const;
  /// Removes the name, if it has one; whoever has it open keeps it.
  void unlink();
  /// Nobody can write any more; call it when no writable mapping is left. Maps it for reading.
  Mapping seal_and_map() const;

 private:
  BlockFile(int fd, std::size_t bytes, std::string path)
      : fd_(fd), bytes_(bytes), path_(std::move(path)) {}

  int fd_ = -1;
  std::size_t bytes_ = 0;
  std::string path_;
  bool named_ = false;
};

/// The block that another rank offers, mapped for reading; nothing when it cannot be opened or is
/// not the one meant (a PID means another process in another namespace).
std::optional<Mapping> try_map_block(const std::string& path, std::size_t bytes,
                                     std::uint64_t inode);

}  // namespace longspan

// What memory allows: reading and copying, with some threads or by a GPU, as fast as it goes. What
// is moved between ranks, and what decode reads, cannot be faster.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "comm/machine.h"

namespace longspan {

/// read_all() takes whole chunks of so many bytes.
inline constexpr std::size_t kReadChunk = std::size_t{256} << 10;

/// Reads `memory`, of which nothing is left out if its size is a multiple of kReadChunk and it is
/// aligned to 64 bytes. The result is of no use but that it depends on every byte.
std::uint64_t read_all(ConstBytes memory, int threads);

/// to = from, of equal sizes; with fewer threads where there is little for each.
void copy_all(Bytes to, ConstBytes from, int threads);

/// What a rank's device does with more memory than its caches hold: a CPU reads it, a GPU copies
/// it, by which rates of GPUs are told.
class MemoryYardstick {
 public:
  /// Allocates and touches `bytes`, of a GPU twice as many. Borrows the machine.
  MemoryYardstick(Machine& machine, std::size_t bytes);

  /// So many times; returns when it is done.
  void move(int times);
  /// Bytes read, and written where it copies, each time.
  static double bytes_moved(Machine& machine, std::size_t bytes) {
    return static_cast<double>(bytes) * (machine.backend() == Backend::kCuda ? 2 : 1);
  }
  static std::string_view verb(Backend backend) {
    return backend == Backend::kCuda ? "copying" : "reading";
  }

 private:
  Machine& machine_;
  Buffer memory_, copy_;
  std::unique_ptr<Stream> stream_;  // last: drains before what its work touches goes
};

}  // namespace longspan

// What memory allows: reading and copying with some threads, as fast as it goes. What is moved
// between ranks, and what decode reads, cannot be faster.
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/device.h"

namespace longspan {

/// read_all() takes whole chunks of so many bytes.
inline constexpr std::size_t kReadChunk = std::size_t{256} << 10;

/// Reads `memory`, of which nothing is left out if its size is a multiple of kReadChunk and it is
/// aligned to 64 bytes. The result is of no use but that it depends on every byte.
std::uint64_t read_all(ConstBytes memory, int threads);

/// to = from, of equal sizes; with fewer threads where there is little for each.
void copy_all(Bytes to, ConstBytes from, int threads);

}  // namespace longspan

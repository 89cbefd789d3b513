#include "launch/bench/memory_yardsticks.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "comm/error.h"

namespace longspan {
namespace {

/// A cache line, read as whole vectors: an element at a time, or through a checked container, the
/// sum and not the memory would set the pace.
struct alignas(64) Line {
  typedef std::uint64_t Words __attribute__((vector_size(16)));
  Words words[4] = {};
};
constexpr std::int64_t kChunkLines = kReadChunk / sizeof(Line);
/// Fetched so far ahead, memory is read twice as fast as the hardware's own guesses make it.
constexpr std::int64_t kAheadLines = 64;

[[gnu::optimize("O3")]] std::uint64_t sum_of(const Line* lines) {
  Line::Words sums[4] = {};
  for (std::int64_t i = 0; i < kChunkLines; ++i) {
    __builtin_prefetch(lines + i + kAheadLines);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] += lines[i].words[j];
  }
  const Line::Words total = sums[0] + sums[1] + sums[2] + sums[3];
  return total[0] + total[1];
}

/// Starting a thread's share costs about what copying so much does.
constexpr std::size_t kLeastPiece = std::size_t{64} << 10;

}  // namespace

std::uint64_t read_all(ConstBytes memory, int threads) {
  const Line* first = reinterpret_cast<const Line*>(memory.data());
  const auto chunks = static_cast<std::int64_t>(memory.size() / kReadChunk);
  std::uint64_t total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total) schedule(static)
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    total += sum_of(first + chunk * kChunkLines);
  }
  return total;
}

void copy_all(Bytes to, ConstBytes from, int threads) {
  expects(to.size() == from.size(), "a copy has as much room as bytes");
  const int pieces = static_cast<int>(
      std::clamp<std::size_t>(from.size() / kLeastPiece, 1, static_cast<std::size_t>(threads)));
  if (pieces == 1) {
    std::memcpy(to.data(), from.data(), from.size());
    return;
  }
#pragma omp parallel for num_threads(pieces) schedule(static)
  for (int piece = 0; piece < pieces; ++piece) {
    const std::size_t begin = from.size() * piece / pieces;
    const std::size_t end = from.size() * (piece + 1) / pieces;
    std::memcpy(to.data() + begin, from.data() + begin, end - begin);
  }
}

MemoryYardstick::MemoryYardstick(Machine& machine, std::size_t bytes)
    : machine_(machine),
      memory_(machine.device().allocate(bytes)),
      copy_(machine.device().allocate(machine.backend() == Backend::kCuda ? bytes : 0)),
      stream_(machine.device().new_stream()) {
  // Untouched pages of a host are one page of zeros.
  const std::vector<std::byte> ones(std::min<std::size_t>(bytes, 1 << 20), std::byte{1});
  for (std::size_t at = 0; at < bytes; at += ones.size()) {
    const std::size_t count = std::min(ones.size(), bytes - at);
    machine.device().copy(*stream_, memory_.bytes().subspan(at, count),
                          std::span(ones).first(count));
  }
  stream_->synchronize();
}

void MemoryYardstick::move(int times) {
  volatile std::uint64_t sink = 0;
  for (int i = 0; i < times; ++i) {
    if (machine_.backend() == Backend::kCuda) {
      machine_.device().copy(*stream_, copy_.bytes(), memory_.bytes());
    } else {
      sink = sink + read_all(memory_.bytes(), machine_.threads());
    }
  }
  stream_->synchronize();
}

}  // namespace longspan

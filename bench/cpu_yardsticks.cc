#include "bench/cpu_yardsticks.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "launch/bench/memory_yardsticks.h"

namespace longspan::bench {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Independent sums: two units with a latency of four need eight; twelve leave room.
constexpr int kSums = 12;
constexpr std::int64_t kRounds = 4'000'000;

template <int W>
struct Vector {
  typedef float Floats __attribute__((vector_size(W * sizeof(float))));
};

template <int W>
[[gnu::always_inline]] inline float multiply_add(float seed) {
  using Floats = typename Vector<W>::Floats;
  Floats sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = Floats{} + seed * static_cast<float>(i);
  const Floats factor = Floats{} + 0.5f * seed;
  const Floats addend = Floats{} + seed;
  for (std::int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + addend;
  }
  Floats total = {};
  for (const Floats& sum : sums) total += sum;
  return total[0];
}

[[gnu::optimize("O3")]] float multiply_add_4(float seed) { return multiply_add<4>(seed); }
[[gnu::optimize("O3"), gnu::target("avx2,fma")]] float multiply_add_8(float seed) {
  return multiply_add<8>(seed);
}
[[gnu::optimize("O3"), gnu::target("avx512f,fma")]] float multiply_add_16(float seed) {
  return multiply_add<16>(seed);
}

}  // namespace

double multiply_add_rate(int width, int threads) {
  const auto work = width == 4 ? multiply_add_4 : width == 8 ? multiply_add_8 : multiply_add_16;
  volatile float seed = 1.0f;
  volatile float sink = 0;
  double best = 0;
  for (int repeat = 0; repeat < 8; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    float total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    total += work(seed);
    sink = sink + total;
    best = std::max(best, 2.0 * width * kSums * kRounds * threads / seconds_since(start));
  }
  return best;
}

double read_rate(CpuDevice& device) {
  constexpr std::size_t kBytes = std::size_t{512} << 20;
  Buffer memory = device.allocate(kBytes);
  std::ranges::fill(memory.bytes(), std::byte{1});  // untouched pages are one page of zeros
  volatile std::uint64_t sink = 0;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    sink = sink + read_all(memory.bytes(), device.threads());
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

}  // namespace longspan::bench

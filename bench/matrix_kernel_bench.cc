// Where the time of prefill in bfloat16 goes: packing keys, both products, and the softmax between
// them, each alone over one tile of keys and one block of rows that lie in the cache.
//
//   matrix_kernel_bench

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <vector>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/instruction_set.h"
#include "attention/cpu/matrix_kernels.h"
#include "attention/cpu/matrix_rows.h"

namespace longspan::bench {
namespace {

/// Nanoseconds of a call, in the best of many rounds: neighbours of a virtual machine only add.
double nanoseconds(const std::function<void()>& call) {
  constexpr int kCalls = 500, kRounds = 101;
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    rounds.push_back(elapsed.count() / kCalls);
  }
  return *std::ranges::min_element(rounds);
}

void run(const MatrixKernels& kernels, int head_dim) {
  const int depth = padded_head(head_dim);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(2L * kTileColumns * head_dim);
  for (float& value : values) value = normal(random);
  std::vector<const float*> k, v;
  for (int column = 0; column < kTileColumns; ++column) {
    k.push_back(values.data() + column * head_dim);
    v.push_back(values.data() + (kTileColumns + column) * head_dim);
  }
  const KeyTile keys{k.data(), v.data(), kTileColumns};
  const auto halves = [](int count) {
    AlignedHalves memory = aligned_halves(count);
    std::fill_n(memory.get(), count, std::uint16_t{0x3f80});  // 1
    return memory;
  };
  const auto floats = [](int count) {
    AlignedFloats memory = aligned_floats(count);
    std::fill_n(memory.get(), count, 0.0f);
    return memory;
  };
  const auto q = halves(kMatrixLanes * depth), packed_k = halves(kTileColumns * depth),
             packed_v = halves(kTileColumns * depth), p = halves(kTileColumns * kMatrixLanes);
  const auto acc = floats(kMatrixLanes * depth), m = floats(kMatrixLanes), l = floats(kMatrixLanes),
             scores = floats(kTileColumns * kMatrixLanes);
  const MatrixBlock block{head_dim, 0.01f, q.get(), acc.get(), m.get(), l.get()};
  const MatrixScratch scratch{scores.get(), p.get()};
  PackedKeys packed{packed_k.get(), packed_v.get()};

  kernels.start();
  const double pack = nanoseconds([&] { kernels.pack_keys(keys, head_dim, packed); });
  const double score = nanoseconds([&] { kernels.score(block, packed, kTileColumns, scratch); });
  const double soften = nanoseconds([&] { kernels.soften(block, kTileColumns, {}, scratch); });
  const double accumulate = nanoseconds([&] { kernels.accumulate(block, keys, packed, scratch); });
  kernels.stop();
  MatrixRows rows(kernels, head_dim);
  rows.start(rows.most_lanes(), 0.01f);
  const double all = nanoseconds([&] { rows.attend(keys); }) * kMatrixLanes / rows.most_lanes();
  rows.stop();

  const double flop = 4.0 * head_dim * kTileColumns * kMatrixLanes;
  fmt::print("{:>9} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>9.0f} {:>12.0f} {:>14.0f}\n", head_dim,
             pack, score, soften, accumulate, all, flop / (score + accumulate), flop / all);
}

}  // namespace
}  // namespace longspan::bench

int main() {
  using namespace longspan;
  if (!has_amx()) {
    fmt::print("matrix_kernel_bench: this machine has no AMX\n");
    return 0;
  }
  fmt::print("one thread; nanoseconds for {} keys and {} rows; packing serves up to {} rows\n",
             kTileColumns, kMatrixLanes, kMostTileLanes);
  fmt::print("{:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>12} {:>14}\n", "head size", "pack", "q k",
             "softmax", "p v", "in a tile", "products", "together");
  fmt::print("{:>81} {:>14}\n", "GFLOP/s", "GFLOP/s");
  for (const int head_dim : {64, 128, 256}) bench::run(*kAmxKernels.matrix, head_dim);
  return 0;
}

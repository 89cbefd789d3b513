#include "launch/bench/random_cases.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace longspan {
namespace {

/// A whole number of [1, most], its logarithm uniform. By hand, for the library's distributions may
/// differ between machines, and all ranks must draw the same.
std::int64_t log_uniform(std::mt19937_64& random, std::int64_t most) {
  const double share = static_cast<double>(random() >> 11) * 0x1p-53;  // [0, 1)
  const double number = std::exp(share * std::log(static_cast<double>(most) + 1));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(number), 1, most);
}

}  // namespace

std::vector<AskedChunk> random_chunks(int count, std::int64_t most_tokens,
                                      std::int64_t most_cached) {
  std::mt19937_64 random(2026);
  std::vector<AskedChunk> chunks;
  for (int i = 0; i < count; ++i) {
    const std::int64_t tokens = log_uniform(random, most_tokens);
    chunks.push_back({tokens, log_uniform(random, most_cached + 1) - 1});
  }
  return chunks;
}

}  // namespace longspan

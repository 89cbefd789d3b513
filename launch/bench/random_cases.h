// Chunks of random sizes to ask the chooser about.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan {

/// A chunk: so many new tokens behind so many cached ones.
struct AskedChunk {
  std::int64_t tokens = 1;
  std::int64_t cached = 0;

  bool operator==(const AskedChunk&) const = default;
};

/// `count` chunks of 1 to `most_tokens` new and 0 to `most_cached` cached tokens, each spread
/// evenly over its logarithm: short ones are as frequent as long ones. The same everywhere and
/// always.
std::vector<AskedChunk> random_chunks(int count, std::int64_t most_tokens,
                                      std::int64_t most_cached);

}  // namespace longspan

#include "attention/block_sums.h"

#include <algorithm>

namespace longspan {

std::vector<std::int64_t> blocks_of(std::span<const std::int64_t> positions, std::int64_t block) {
  std::vector<std::int64_t> blocks;
  for (std::int64_t position : positions) blocks.push_back(position / block);
  std::ranges::sort(blocks);
  const auto repeated = std::ranges::unique(blocks);
  blocks.erase(repeated.begin(), repeated.end());
  return blocks;
}

void add_block_sums(std::span<const std::int64_t> blocks, const double* sums, std::int64_t width,
                    double* total) {
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const double* from = sums + i * width;
    double* to = total + blocks[i] * width;
    for (std::int64_t d = 0; d < width; ++d) to[d] += from[d];
  }
}

}  // namespace longspan

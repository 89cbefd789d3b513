// Sums over blocks of positions, told by every rank of the blocks in which it has rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace longspan {

/// Blocks that hold `tokens` positions from 0 on; the last may be short.
constexpr std::int64_t blocks_in(std::int64_t tokens, std::int64_t block) {
  return (tokens + block - 1) / block;
}

/// The blocks that positions lie in, once each and ascending.
std::vector<std::int64_t> blocks_of(std::span<const std::int64_t> positions, std::int64_t block);

/// total (all blocks, width) += sums (blocks, width), each where its block is.
void add_block_sums(std::span<const std::int64_t> blocks, const double* sums, std::int64_t width,
                    double* total);

}  // namespace longspan

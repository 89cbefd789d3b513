// The arithmetic of block_chooser.h: sums over blocks of rows, and the choice made from them.
#pragma once

#include <cstdint>
#include <span>

#include "attention/segment.h"

namespace longspan {

struct PoolBlocks {
  HeadShape shape;
  const float* q;                           // (rows, query_heads, head_dim)
  KvView keys;                              // float32, a column for each row
  std::span<const std::int64_t> positions;  // of the rows
  std::int64_t block;                       // positions
  std::span<const std::int64_t> blocks;     // that the rows lie in, ascending
  double* sums;                             // (blocks, query_heads + kv_heads, head_dim)
};

/// Sums of each block's queries and keys.
void pool_blocks(const PoolBlocks& work);

struct ChooseBlocks {
  HeadShape shape;
  std::int64_t tokens;
  std::int64_t block;    // positions
  double mass;           // of attention, that the chosen blocks should hold
  const double* sums;    // (blocks, query_heads + kv_heads, head_dim), of all rows
  std::uint8_t* chosen;  // (kv_heads, blocks, blocks)
};

/// Of each query block the first key block, its own, and those with most of the attention.
void choose_blocks(const ChooseBlocks& work);

}  // namespace longspan

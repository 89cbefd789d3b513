// Grids of kernels whose threads stride over however many items there are.
#pragma once

#include <algorithm>
#include <cstdint>

namespace longspan {

inline unsigned blocks_for(std::int64_t items, int items_per_block) {
  constexpr std::int64_t kEnough = 1 << 16;  // more would not fill a GPU better
  return static_cast<unsigned>(std::min((items + items_per_block - 1) / items_per_block, kEnough));
}

}  // namespace longspan

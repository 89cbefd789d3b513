// Copies of boxes of a tensor into shared memory by Hopper's copy engine.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "attention/cuda/mbarrier.cuh"

namespace longspan {

/// What L2 should do with the lines of a copy: createpolicy.fractional's words for evict_first and
/// evict_last of all of them, as constants.
inline constexpr std::uint64_t kPassThroughL2 = 0x12F0000000000000;
inline constexpr std::uint64_t kKeepInL2 = 0x14F0000000000000;

/// By one thread: the box at these coordinates, innermost first, to `to`; its bytes count at
/// `barrier`. What lies outside of the tensor is zeros, and counts too.
__device__ inline void copy_box(const CUtensorMap* map, int c0, int c1, int c2, std::uint32_t to,
                                Mbarrier& barrier, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(reinterpret_cast<std::uint64_t>(map)), "r"(shared_address(&barrier)), "r"(c0), "r"(c1),
      "r"(c2), "l"(policy)
      : "memory");
}
__device__ inline void copy_box(const CUtensorMap* map, int c0, int c1, int c2, int c3,
                                std::uint32_t to, Mbarrier& barrier, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(to),
      "l"(reinterpret_cast<std::uint64_t>(map)), "r"(shared_address(&barrier)), "r"(c0), "r"(c1),
      "r"(c2), "r"(c3), "l"(policy)
      : "memory");
}

}  // namespace longspan

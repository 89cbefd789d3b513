// Matrix units, and copies into shared memory behind the program's back, as they have been since
// compute capability 8.0: by warps, on fragments in registers. Lane l has g = l div 4, t = l mod 4.
//
//   a, 16 x 16   [0] row g, columns 2t, 2t + 1   [1] row g + 8   [2], [3] the same, 8 columns on
//
//   b, 16 x 8    [0] rows 2t, 2t + 1 of column g   [1] the same, 8 rows on
//
//   d, 16 x 8    [0], [1] row g, columns 2t and 2t + 1   [2], [3] row g + 8
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace longspan {

/// d += a b
__device__ inline void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four matrices of 8 x 8, lanes 8 i to 8 i + 7 giving the addresses of the rows of matrix i: of
/// each, a lane gets columns 2t, 2t + 1 of row g.
__device__ inline void load_matrices(std::uint32_t address, std::uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
/// The same transposed: a lane gets rows 2t, 2t + 1 of column g.
__device__ inline void load_columns(std::uint32_t address, std::uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

/// Two floats as a sum of two pairs of bfloat16, exact to 2^-17 of each.
struct SplitPair {
  std::uint32_t high, low;
};
__device__ inline SplitPair split_pair(float x, float y) {
  const __nv_bfloat162 high = __floats2bfloat162_rn(x, y);
  const float2 kept = __bfloat1622float2(high);
  const __nv_bfloat162 low = __floats2bfloat162_rn(x - kept.x, y - kept.y);
  return {reinterpret_cast<const std::uint32_t&>(high),
          reinterpret_cast<const std::uint32_t&>(low)};
}

/// For what is read once: L2 lets go of it first.
__device__ inline std::uint64_t read_once_policy() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
/// 16 bytes, of which the first `bytes` come from `from` and the others are zeros. Part of the
/// thread's next group.
__device__ inline void copy_16(std::uint32_t to, const void* from, int bytes,
                               std::uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(to),
               "l"(from), "r"(bytes), "l"(policy)
               : "memory");
}
__device__ inline void end_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Until no more than kLeft of the thread's groups are on their way.
template <int kLeft>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

}  // namespace longspan

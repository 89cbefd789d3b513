// Values of either precision, and eight bfloat16 at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "runtime/model/cuda/matrix_kernels.h"

namespace longspan {

/// Eight bfloat16 are read and written at once, from addresses that are multiples of this.
inline bool is_at_vector(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % sizeof(uint4) == 0;
}

__device__ inline float widened(float value) { return value; }
__device__ inline float widened(__half value) { return __half2float(value); }
__device__ inline float widened(__nv_bfloat16 value) { return __bfloat162float(value); }

/// `first` in the lower half, to the nearest, ties to even.
__device__ inline std::uint32_t packed_pair(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

__device__ inline uint4 packed_eight(const float4& low, const float4& high) {
  return {packed_pair(low.x, low.y), packed_pair(low.z, low.w), packed_pair(high.x, high.y),
          packed_pair(high.z, high.w)};
}

__device__ inline float first_of(std::uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float second_of(std::uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

/// `sum` becomes value `at` of the product, or is added to it.
__device__ inline void write_product(const MatrixProduct& work, std::int64_t at, float sum) {
  if (work.is_out_narrow) {
    static_cast<__nv_bfloat16*>(work.out)[at] = __float2bfloat16_rn(sum);
  } else {
    float& out = static_cast<float*>(work.out)[at];
    out = work.accumulates ? out + sum : sum;
  }
}

}  // namespace longspan

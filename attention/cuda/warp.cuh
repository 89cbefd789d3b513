// Sums and maxima over neighbouring lanes. The tree is fixed, and every lane of the group ends up
// with the same bits, since a + b is b + a.
#pragma once

namespace longspan {

inline constexpr int kWarp = 32;

/// Over groups of kLanes lanes, a power of two. The whole warp calls.
template <int kLanes>
__device__ inline float lanes_sum(float value) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

/// NaN counts for nothing unless there is nothing else.
template <int kLanes>
__device__ inline float lanes_max(float value) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

}  // namespace longspan

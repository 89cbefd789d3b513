#include "attention/cuda/alignment.h"
#include "attention/cuda/grid.h"
#include "attention/cuda/running_state.h"
#include "comm/cuda/cuda_check.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;

__device__ void clear(float& value) { value = 0.0f; }
__device__ void clear(float4& values) { values = float4{0.0f, 0.0f, 0.0f, 0.0f}; }
__device__ float scaled(float value, float factor) { return value * factor; }
__device__ float4 scaled(const float4& values, float factor) {
  return {values.x * factor, values.y * factor, values.z * factor, values.w * factor};
}

// A thread per Value of acc: a float, or four of a head. The one of a head's first takes m, l and
// lse as well. `width`: Values of a head.

template <typename Value>
__global__ void reset_kernel(Value* acc, RunningState state, std::int64_t items, int width) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < items * width;
       i += stride) {
    clear(acc[i]);
    if (i % width != 0) continue;
    state.m[i / width] = -INFINITY;
    state.l[i / width] = 0.0f;
  }
}

template <typename Value>
__global__ void finish_kernel(const Value* acc, RunningState state, Value* o, float* lse,
                              std::int64_t items, int width) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < items * width;
       i += stride) {
    const std::int64_t at = i / width;
    const float l = state.l[at];
    if (l == 0.0f) {
      clear(o[i]);
    } else {
      o[i] = scaled(acc[i], 1.0f / l);  // as kernels do that finish what they attended
    }
    if (i % width == 0) lse[at] = l == 0.0f ? -INFINITY : state.m[at] + logf(l);
  }
}

/// Calls launch(acc as what is read at once, Values of a head).
template <typename Launch>
void by_values(float* acc, bool may_take_four, int head_dim, const Launch& launch) {
  if (may_take_four && head_dim % 4 == 0 && is_aligned(acc)) {
    launch(reinterpret_cast<float4*>(acc), head_dim / 4);
  } else {
    launch(acc, head_dim);
  }
}

}  // namespace

void launch_reset(RunningState state, std::int64_t items, int head_dim, cudaStream_t stream) {
  if (items == 0) return;
  by_values(state.acc, true, head_dim, [&](auto* acc, int width) {
    reset_kernel<<<blocks_for(items * width, kThreads), kThreads, 0, stream>>>(acc, state, items,
                                                                               width);
  });
  cuda_check(cudaGetLastError(), "resetting running states");
}

void launch_finish(RunningState state, Partial out, std::int64_t items, int head_dim,
                   cudaStream_t stream) {
  if (items == 0) return;
  by_values(state.acc, is_aligned(out.o), head_dim, [&](auto* acc, int width) {
    finish_kernel<<<blocks_for(items * width, kThreads), kThreads, 0, stream>>>(
        acc, state, reinterpret_cast<decltype(acc)>(out.o), out.lse, items, width);
  });
  cuda_check(cudaGetLastError(), "finishing running states");
}

}  // namespace longspan

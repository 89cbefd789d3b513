#include "attention/cuda/grid.h"
#include "attention/cuda/running_state.h"
#include "comm/cuda/cuda_check.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;

// A thread per value of acc; the one of value 0 takes m, l and lse as well.

__global__ void reset_kernel(RunningState state, std::int64_t items, int head_dim) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < items * head_dim;
       i += stride) {
    state.acc[i] = 0.0f;
    if (i % head_dim != 0) continue;
    state.m[i / head_dim] = -INFINITY;
    state.l[i / head_dim] = 0.0f;
  }
}

__global__ void finish_kernel(RunningState state, Partial out, std::int64_t items, int head_dim) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < items * head_dim;
       i += stride) {
    const std::int64_t at = i / head_dim;
    const float l = state.l[at];
    out.o[i] = l == 0.0f ? 0.0f : state.acc[i] / l;
    if (i % head_dim == 0) out.lse[at] = l == 0.0f ? -INFINITY : state.m[at] + logf(l);
  }
}

}  // namespace

void launch_reset(RunningState state, std::int64_t items, int head_dim, cudaStream_t stream) {
  if (items == 0) return;
  reset_kernel<<<blocks_for(items * head_dim, kThreads), kThreads, 0, stream>>>(state, items,
                                                                                head_dim);
  cuda_check(cudaGetLastError(), "resetting running states");
}

void launch_finish(RunningState state, Partial out, std::int64_t items, int head_dim,
                   cudaStream_t stream) {
  if (items == 0) return;
  finish_kernel<<<blocks_for(items * head_dim, kThreads), kThreads, 0, stream>>>(state, out, items,
                                                                                 head_dim);
  cuda_check(cudaGetLastError(), "finishing running states");
}

}  // namespace longspan

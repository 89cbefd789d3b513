#include <cuda_bf16.h>

#include "attention/cuda/grid.h"
#include "attention/cuda/round_queries.h"
#include "comm/cuda/cuda_check.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;

/// A thread per pair. Callers' queries may begin at any float.
__global__ void round_kernel(const float* from, std::int64_t pairs, __nv_bfloat162* to,
                             unsigned long long* zeroed) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = first; i < pairs; i += stride) {
    to[i] = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
  }
  if (first == 0) *zeroed = 0;
}

}  // namespace

void launch_round_queries(const float* from, std::int64_t count, void* to,
                          unsigned long long* zeroed, cudaStream_t stream) {
  if (count == 0) return;
  round_kernel<<<blocks_for(count / 2, kThreads), kThreads, 0, stream>>>(
      from, count / 2, static_cast<__nv_bfloat162*>(to), zeroed);
  cuda_check(cudaGetLastError(), "rounding queries");
}

}  // namespace longspan

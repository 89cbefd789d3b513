#include "attention/cuda/grid.h"
#include "attention/cuda/merge.cuh"
#include "attention/cuda/merge.h"
#include "comm/cuda/early_launch.cuh"

namespace longspan {
namespace {

constexpr int kWarps = 8;

/// A warp per row and head.
__global__ void merge_kernel(const __grid_constant__ Merge work) {
  let_next_kernel_in();
  wait_for_kernel_before();
  const auto partial = [&](std::int64_t i) { return work.partials[i]; };
  const std::int64_t stride = std::int64_t{gridDim.x} * kWarps;
  for (std::int64_t at = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; at < work.items;
       at += stride) {
    const int bad = merge_at(partial, work.count, work.out, at, work.head_dim);
    if (bad > 0 && threadIdx.x % kWarp == 0) {
      atomicAdd(work.bad_total, static_cast<unsigned long long>(bad));
    }
  }
}

}  // namespace

void launch_merge(const Merge& work, cudaStream_t stream) {
  if (work.items == 0) return;
  launch_early(
      {.grid = blocks_for(work.items, kWarps), .threads = kWarps * kWarp, .stream = stream},
      merge_kernel, "merging partials", work);
}

}  // namespace longspan

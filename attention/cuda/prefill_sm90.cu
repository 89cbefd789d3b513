// FlashAttention-3's shape (arXiv 2407.08608) over segments of keys in pages: a block is two
// producer warps, which copy tiles into shared memory, and two warpgroups, each of which computes
// 64 rows of a tile of 128.
//
//   producers    Q K0 | K1 | ... | Kn | Q' K0' ...        stages, reused in a ring
//                V0 | V1 | ...
//   warpgroup    S0 = Q K0 || the tile before is stored ; softmax ;
//                { S = Q K || O += P V before ; softmax } ... ; O += P V
//
// Both warpgroups walk over all blocks of the tile, those too that none of their rows sees, so that
// turns and stages stay in step; such a block adds exact zeros.
//
// A row's bits depend on its own columns only: blocks begin at column 0 of each segment, and sums
// have one order. Between segments each row's sum l is gathered in one lane, as it is when it is
// stored: so carrying the state from launch to launch changes nothing.
#include <algorithm>

#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/prefill_sm90_consumer.cuh"
#include "attention/cuda/prefill_sm90_producers.cuh"
#include "attention/cuda/prefill_sm90_stages.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

using namespace sm90;

constexpr int kThreads = 3 * kWarpgroup;
/// What a multiprocessor's 64K registers give each thread when roles share them out.
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;

template <int kHeadDim, bool kTurns, bool kOverlap, bool kFetches>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_kernel(const __grid_constant__ PrefillSm90 work) {
  Shared<kHeadDim>& shared = find_shared<kHeadDim>();
  if (threadIdx.x == 0) init_barriers(shared);
  __syncthreads();
  const int group = same_in_warp(static_cast<int>(threadIdx.x) / kWarpgroup);
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    const int warp = same_in_warp(static_cast<int>(threadIdx.x) / kWarp);
    // On the quarters where a warpgroup's first warp, which waits longest for matrix units, is not.
    if (warp == 2) KeyProducer<kHeadDim>(work, shared).template run<kFetches>();
    if (warp == 3) ValueProducer<kHeadDim>(work, shared).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    Consumer<kHeadDim, kTurns, kOverlap>(work, shared, group - 1).run();
  }
}

using Kernel = void (*)(PrefillSm90);

template <int kHeadDim>
Kernel kernel_of(Sm90Rung rung) {
  switch (rung) {
    case Sm90Rung::kInOrder:
      return prefill_kernel<kHeadDim, false, false, false>;
    case Sm90Rung::kTurns:
      return prefill_kernel<kHeadDim, true, false, false>;
    case Sm90Rung::kOverlap:
      return prefill_kernel<kHeadDim, true, true, false>;
    case Sm90Rung::kFetching:
      return prefill_kernel<kHeadDim, true, true, true>;
  }
  return nullptr;
}

Kernel kernel_for(int head_dim, Sm90Rung rung) {
  return head_dim == 64 ? kernel_of<64>(rung) : kernel_of<128>(rung);
}
std::size_t shared_bytes_for(int head_dim) {
  return head_dim == 64 ? sizeof(Shared<64>) : sizeof(Shared<128>);
}

}  // namespace

bool device_runs_sm90() {
  int device = 0, major = 0, minor = 0;
  cuda_check(cudaGetDevice(&device), "the current GPU");
  cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "a GPU");
  cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "a GPU");
  return major == 9 && minor == 0;
}

void prepare_prefill_sm90(int head_dim) {
  for (const Sm90Rung rung :
       {Sm90Rung::kInOrder, Sm90Rung::kTurns, Sm90Rung::kOverlap, Sm90Rung::kFetching}) {
    cuda_check(cudaFuncSetAttribute(kernel_for(head_dim, rung),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes_for(head_dim))),
               "the prefill kernel needs more shared memory than this GPU has");
  }
}

void launch_prefill_sm90(const PrefillSm90& work, Sm90Rung rung, int blocks, cudaStream_t stream) {
  const int head_dim = work.shape.head_dim;
  expects(head_dim_runs_tiles(head_dim), "the prefill kernel knows head_dim 64 and 128");
  if (work.order.count() == 0) return;
  const int grid = std::min(blocks, work.order.count());
  kernel_for(head_dim, rung)<<<grid, kThreads, shared_bytes_for(head_dim), stream>>>(work);
  cuda_check(cudaGetLastError(), "attending on matrix units");
}

}  // namespace longspan

#include "bench/read_memory.h"
#include "comm/cuda/cuda_check.h"

namespace longspan::bench {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 132 * 4;
constexpr int kAtOnce = 8;  // 16-byte loads that a thread has on their way

/// Blocks read pieces of 64 KB in turn.
__global__ void __launch_bounds__(kThreads)
    read_kernel(const uint4* memory, std::size_t count, unsigned* sink) {
  constexpr std::size_t kPiece = kThreads * kAtOnce;
  unsigned all = 0;
  for (std::size_t first = blockIdx.x * kPiece; first < count; first += gridDim.x * kPiece) {
    uint4 values[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const std::size_t at = first + i * kThreads + threadIdx.x;
      values[i] = at < count ? __ldcs(memory + at) : uint4{};
    }
#pragma unroll
    for (const uint4& value : values) all += value.x + value.y + value.z + value.w;
  }
  if (sink) *sink = all;  // a kernel without a result would read nothing
}

}  // namespace

void launch_read(const void* memory, std::size_t bytes, unsigned* sink, const CudaStream& stream) {
  read_kernel<<<kBlocks, kThreads, 0, stream.native()>>>(static_cast<const uint4*>(memory),
                                                         bytes / sizeof(uint4), sink);
  cuda_check(cudaGetLastError(), "reading memory");
}

}  // namespace longspan::bench

#include <algorithm>

#include "attention/cuda/copy_kv.h"
#include "attention/cuda/element.cuh"
#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"

namespace longspan {
namespace {

constexpr int kWarps = 8;

/// A warp copies a column of a head.
__device__ void copy_column(KvType from_type, void* from_memory, std::int64_t from, KvType to_type,
                            void* to_memory, std::int64_t to, int head_dim) {
  with_values(from_type, from_memory, [&](const auto* source) {
    with_values(to_type, to_memory, [&](auto* target) {
      for (int d = threadIdx.x % kWarp; d < head_dim; d += kWarp) {
        narrow(widen(source[from + d]), target[to + d]);
      }
    });
  });
}

/// A warp per column and head; copies in the grid's y, heads in its z.
__global__ void copy_kernel(const KvCopy* copies, std::int64_t count, int head_dim) {
  const int kv_head = static_cast<int>(blockIdx.z);
  const std::int64_t stride = std::int64_t{gridDim.x} * kWarps;
  for (std::int64_t index = blockIdx.y; index < count; index += gridDim.y) {
    const KvCopy& copy = copies[index];
    for (std::int64_t i = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
         i < copy.to_columns.count; i += stride) {
      const std::int64_t from = copy.from.offset(copy.from_column + i, kv_head, head_dim);
      const std::int64_t to = copy.to.offset(copy.to_columns.position(i), kv_head, head_dim);
      const KvType type = copy.from.type, to_type = copy.to.type;
      copy_column(type, copy.from.k, from, to_type, copy.to.k, to, head_dim);
      copy_column(type, copy.from.v, from, to_type, copy.to.v, to, head_dim);
    }
  }
}

}  // namespace

void launch_copy_kv(const KvCopy* copies, std::int64_t count, std::int64_t columns,
                    const HeadShape& shape, cudaStream_t stream) {
  if (count == 0 || columns == 0) return;
  constexpr std::int64_t kMaxY = 65535;
  const dim3 grid(blocks_for(columns, kWarps), static_cast<unsigned>(std::min(count, kMaxY)),
                  shape.kv_heads);
  copy_kernel<<<grid, kWarps * kWarp, 0, stream>>>(copies, count, shape.head_dim);
  cuda_check(cudaGetLastError(), "copying columns of K and V");
}

}  // namespace longspan

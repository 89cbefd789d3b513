#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/tma.cuh"
#include "attention/cuda/wgmma.cuh"
#include "comm/cuda/cuda_check.h"
#include "tests/attention/cuda/first_light.h"

namespace longspan::test {
namespace {

constexpr int kThreads = 128;  // one warpgroup
constexpr int kRows = 128;
constexpr int kMostTileBytes = matrix_tile_bytes(kRows, 128);

/// Plain stores of a row-major tile.
__device__ void fill(const std::uint16_t* from, int columns, std::byte* tile) {
  for (int i = threadIdx.x; i < kRows * columns; i += kThreads) {
    const int row = i / columns, column = i % columns;
    const std::uint32_t at =
        column / kSlabColumns * slab_bytes(kRows) + row * kSlabRowBytes + column % kSlabColumns * 2;
    *reinterpret_cast<std::uint16_t*>(tile + swizzled(at)) = from[i];
  }
}

__device__ std::byte* aligned_memory() {
  extern __shared__ __align__(kSwizzleBytes) std::byte memory[];
  return memory;
}

template <int kCount>
__device__ void dump(const float (&values)[kCount], int columns, float* to) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    to[accumulator_row(warp, lane, i) * columns + accumulator_column(lane, i)] = values[i];
  }
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads)
    score_kernel(const std::uint16_t* q, const std::uint16_t* k, float* s) {
  std::byte* const q_tile = aligned_memory();
  std::byte* const k_tile = q_tile + kMostTileBytes;
  fill(q, kColumns, q_tile);
  fill(k, kColumns, k_tile);
  fence_shared_for_async();
  __syncthreads();
  for (int first : {0, 64}) {
    float scores[64] = {};
    pin(scores);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kColumns / kMatrixDepth; ++step) {
      wgmma_rows(scores,
                 advanced(advanced(row_operand(shared_address(q_tile)), slab_bytes(first)),
                          row_operand_step(kRows, step)),
                 advanced(row_operand(shared_address(k_tile)), row_operand_step(kRows, step)),
                 step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(scores);
    dump(scores, kRows, s + first * kRows);
  }
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads)
    value_kernel(const float* p, const std::uint16_t* v, float* o) {
  std::byte* const tile = aligned_memory();
  fill(v, kColumns, tile);
  fence_shared_for_async();
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  std::uint32_t weights[32];
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const float* const pair =
        p + accumulator_row(warp, lane, 2 * i) * kRows + accumulator_column(lane, 2 * i);
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(weights[i]) : "f"(pair[1]), "f"(pair[0]));
  }
  float sums[kColumns / 2] = {};
  pin(sums);
  pin(weights);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < kRows / kMatrixDepth; ++step) {
    wgmma_columns(sums, weights + 4 * step,
                  advanced(column_operand(shared_address(tile), kRows), column_operand_step(step)));
  }
  wgmma_commit();
  wgmma_wait<0>();
  pin(sums);
  dump(sums, kColumns, o);
}

__global__ void copy_kernel(const __grid_constant__ CopiedTile work, std::uint8_t* bytes) {
  __shared__ Mbarrier full;
  std::byte* const tile = aligned_memory();
  const int size = matrix_tile_bytes(kRows, work.columns);
  for (int i = threadIdx.x; i < size; i += kThreads) tile[i] = std::byte{0xff};
  if (threadIdx.x == 0) {
    full.init(1);
    fence_mbarrier_init();
  }
  fence_shared_for_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    full.arrive_expecting(work.boxes * work.box_tokens * work.columns * 2);
    for (int box = 0; box < work.boxes; ++box) {
      for (int slab = 0; slab < work.columns / kSlabColumns; ++slab) {
        copy_box(
            &work.map, slab * kSlabColumns, work.first, work.kv_head, work.slots[box],
            shared_address(tile) + slab * slab_bytes(kRows) + box * work.box_tokens * kSlabRowBytes,
            full, kKeepInL2);
      }
    }
  }
  full.wait(0);
  for (int i = threadIdx.x; i < size; i += kThreads) {
    bytes[i] = static_cast<std::uint8_t>(tile[i]);
  }
}

void allow(const void* kernel, int bytes) {
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "shared memory of a first light");
}

}  // namespace

void launch_score_tile(const std::uint16_t* q, const std::uint16_t* k, int columns, float* s,
                       cudaStream_t stream) {
  const auto kernel = columns == 64 ? score_kernel<64> : score_kernel<128>;
  allow(reinterpret_cast<const void*>(kernel), 2 * kMostTileBytes);
  kernel<<<1, kThreads, 2 * kMostTileBytes, stream>>>(q, k, s);
  cuda_check(cudaGetLastError(), "a score tile");
}

void launch_value_tile(const float* p, const std::uint16_t* v, int columns, float* o,
                       cudaStream_t stream) {
  const auto kernel = columns == 64 ? value_kernel<64> : value_kernel<128>;
  allow(reinterpret_cast<const void*>(kernel), kMostTileBytes);
  kernel<<<1, kThreads, kMostTileBytes, stream>>>(p, v, o);
  cuda_check(cudaGetLastError(), "a value tile");
}

void launch_copied_tile(const CopiedTile& work, std::uint8_t* bytes, cudaStream_t stream) {
  allow(reinterpret_cast<const void*>(copy_kernel), kMostTileBytes);
  copy_kernel<<<1, kThreads, kMostTileBytes, stream>>>(work, bytes);
  cuda_check(cudaGetLastError(), "a copied tile");
}

}  // namespace longspan::test

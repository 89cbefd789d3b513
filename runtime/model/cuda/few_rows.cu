#include <cuda_bf16.h>

#include <algorithm>

#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/early_launch.cuh"
#include "comm/error.h"
#include "runtime/model/cuda/few_rows.h"
#include "runtime/model/cuda/narrow_values.cuh"

namespace longspan {
namespace {

// A warp has one or two rows of w, of which each lane reads 16 bytes at a time, four times ahead:
// of 132 multiprocessors with 16 warps each 8 MB are on their way, and memory needs 2 (3 TB/s, 700
// ns).
constexpr int kWarps = 4;
/// Of a warp: its x serves as many, but of a narrow matrix too few warps would be left to wait.
constexpr int kOutputs = 2;
constexpr int kManyOutputs = 6'000;  // from which a GPU is full with kOutputs each
constexpr int kAhead = 4;
constexpr int kVector = 8;  // values
constexpr int kStep = kWarp * kVector;

struct Vector {
  float values[kVector];
};

__device__ Vector widened(const uint4& packed) {
  const std::uint32_t words[] = {packed.x, packed.y, packed.z, packed.w};
  Vector vector;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    vector.values[2 * i] = first_of(words[i]);
    vector.values[2 * i + 1] = second_of(words[i]);
  }
  return vector;
}

__device__ const __nv_bfloat16* row_of(const void* matrix, std::int64_t row, std::int64_t stride) {
  return static_cast<const __nv_bfloat16*>(matrix) + row * stride;
}

// kEach: outputs of a warp at a time.

/// Weights are nobody's result: their first lines are on their way to L2 while the kernel before
/// still works out x.
template <int kEach>
__device__ void fetch_first_lines(const MatrixProduct& work, std::int64_t first, int lane) {
  constexpr int kLine = 64;                   // values
  constexpr int kLinesOfRow = kWarp / kEach;  // a line for each lane
  const std::int64_t row = first + lane / kLinesOfRow;
  const int column = lane % kLinesOfRow * kLine;
  if (row >= work.outputs || column >= work.inputs) return;
  asm volatile("prefetch.global.L2 [%0];" ::"l"(row_of(work.w, row, work.w_stride) + column));
}

template <int kRows, int kEach>
__global__ void __launch_bounds__(kWarps* kWarp) few_rows_kernel(const MatrixProduct work) {
  let_next_kernel_in();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t step = std::int64_t{gridDim.x} * kWarps * kEach;
  const std::int64_t begin = (std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp) * kEach;
  const int whole = work.inputs / kVector * kVector;
  fetch_first_lines<kEach>(work, begin, lane);
  wait_for_kernel_before();
  for (std::int64_t first = begin; first < work.outputs; first += step) {
    const __nv_bfloat16 *w[kEach], *x[kRows];
#pragma unroll
    for (int o = 0; o < kEach; ++o) {
      // The last warp may have a row too many, and reads another twice.
      w[o] = row_of(work.w, min(first + o, std::int64_t{work.outputs} - 1), work.w_stride);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) x[r] = row_of(work.x, r, work.x_stride);

    float sums[kEach][kRows] = {};
#pragma unroll kAhead
    for (int i = lane * kVector; i < whole; i += kStep) {
      Vector weights[kEach];
#pragma unroll
      for (int o = 0; o < kEach; ++o) {
        weights[o] = widened(__ldcs(reinterpret_cast<const uint4*>(w[o] + i)));
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const Vector row = widened(__ldg(reinterpret_cast<const uint4*>(x[r] + i)));
#pragma unroll
        for (int o = 0; o < kEach; ++o) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) {
            sums[o][r] = fmaf(row.values[v], weights[o].values[v], sums[o][r]);
          }
        }
      }
    }
    const int last = whole + lane;  // behind the last whole vector
    if (last < work.inputs) {
#pragma unroll
      for (int o = 0; o < kEach; ++o) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          sums[o][r] = fmaf(__bfloat162float(x[r][last]), __bfloat162float(w[o][last]), sums[o][r]);
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kEach; ++o) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float sum = lanes_sum<kWarp>(sums[o][r]);
        if (lane != 0 || first + o >= work.outputs) continue;
        write_product(work, std::int64_t{r} * work.outputs + first + o, sum);
      }
    }
  }
}

template <int kEach>
void launch_with(const MatrixProduct& work, cudaStream_t stream) {
  constexpr decltype(&few_rows_kernel<1, kEach>) kKernels[] = {
      few_rows_kernel<1, kEach>, few_rows_kernel<2, kEach>, few_rows_kernel<3, kEach>,
      few_rows_kernel<4, kEach>};
  static_assert(std::size(kKernels) == kFewRows);
  launch_early({.grid = blocks_for(work.outputs, kWarps * kEach),
                .threads = kWarps * kWarp,
                .stream = stream},
               kKernels[work.rows - 1], "multiplying a few rows", work);
}

bool is_aligned(const void* address, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(address) % sizeof(uint4) == 0 && stride % kVector == 0;
}

}  // namespace

bool is_few_rows(const MatrixProduct& work) {
  return work.is_bfloat16 && work.rows >= 1 && work.rows <= kFewRows &&
         is_aligned(work.x, work.x_stride) && is_aligned(work.w, work.w_stride);
}

void launch_few_rows(const MatrixProduct& work, cudaStream_t stream) {
  expects(is_few_rows(work), "a few rows, aligned");
  if (work.outputs == 0) return;
  work.outputs < kManyOutputs ? launch_with<1>(work, stream) : launch_with<kOutputs>(work, stream);
}

}  // namespace longspan

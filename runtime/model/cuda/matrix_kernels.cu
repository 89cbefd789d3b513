#include <cuda_bf16.h>

#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/early_launch.cuh"
#include "runtime/model/cuda/matrix_kernels.h"
#include "runtime/model/cuda/narrow_values.cuh"

namespace longspan {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// A thread per eight values, which share a row.
__global__ void narrow_eights_kernel(const float4* x, std::int64_t count, uint4* out) {
  let_next_kernel_in();
  wait_for_kernel_before();
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) {
    out[i] = packed_eight(x[2 * i], x[2 * i + 1]);
  }
}

/// A block per row.
__global__ void narrow_kernel(const float* x, std::int64_t rows, std::int64_t width,
                              std::int64_t stride, __nv_bfloat16* out) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* from = x + row * width;
    __nv_bfloat16* to = out + row * stride;
    for (std::int64_t i = threadIdx.x; i < width; i += kThreads)
      to[i] = __float2bfloat16_rn(from[i]);
  }
}

template <typename Value>
__global__ void plain_kernel(MatrixProduct work) {
  const std::int64_t items = work.rows * work.outputs;
  const std::int64_t step = std::int64_t{gridDim.x} * kWarps;
  const int lane = threadIdx.x % kWarp;
  for (std::int64_t item = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; item < items;
       item += step) {
    const Value* x = static_cast<const Value*>(work.x) + item / work.outputs * work.x_stride;
    const Value* w = static_cast<const Value*>(work.w) + item % work.outputs * work.w_stride;
    float sum = 0.0f;
    for (int i = lane; i < work.inputs; i += kWarp) sum += widened(x[i]) * widened(w[i]);
    sum = lanes_sum<kWarp>(sum);
    if (lane == 0) write_product(work, item, sum);
  }
}

}  // namespace

void launch_narrow_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t stride,
                        std::uint16_t* out, cudaStream_t stream) {
  if (rows == 0 || width == 0) return;
  if (width == stride && width % 8 == 0 && is_at_vector(x) && is_at_vector(out)) {
    const std::int64_t count = rows * width / 8;
    return launch_early(
        {.grid = blocks_for(count, kThreads), .threads = kThreads, .stream = stream},
        narrow_eights_kernel, "narrowing rows", reinterpret_cast<const float4*>(x), count,
        reinterpret_cast<uint4*>(out));
  }
  narrow_kernel<<<blocks_for(rows, 1), kThreads, 0, stream>>>(
      x, rows, width, stride, reinterpret_cast<__nv_bfloat16*>(out));
  cuda_check(cudaGetLastError(), "narrowing rows");
}

void launch_plain_product(const MatrixProduct& work, cudaStream_t stream) {
  const std::int64_t items = work.rows * work.outputs;
  if (items == 0) return;
  const unsigned blocks = blocks_for(items, kWarps);
  if (work.is_bfloat16) {
    plain_kernel<__nv_bfloat16><<<blocks, kThreads, 0, stream>>>(work);
  } else {
    plain_kernel<float><<<blocks, kThreads, 0, stream>>>(work);
  }
  cuda_check(cudaGetLastError(), "multiplying matrices");
}

}  // namespace longspan

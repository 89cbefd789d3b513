#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "runtime/model/cuda/row_kernels.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;

__device__ float widened(float value) { return value; }
__device__ float widened(__half value) { return __half2float(value); }
__device__ float widened(__nv_bfloat16 value) { return __bfloat162float(value); }

/// Over the block; every thread gets it.
__device__ float block_sum(float value) {
  __shared__ float of_warps[kThreads / kWarp];
  value = lanes_sum<kWarp>(value);
  __syncthreads();  // of_warps may still be read for the row before
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += of_warps[warp];
  return sum;
}

// A block per row.

template <typename Value>
__global__ void embed_kernel(const Value* table, int hidden, float scale, const TokenId* tokens,
                             std::int64_t rows, float* out) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const Value* from = table + std::int64_t{tokens[row]} * hidden;
    for (int i = threadIdx.x; i < hidden; i += kThreads) {
      out[row * hidden + i] = widened(from[i]) * scale;
    }
  }
}

__global__ void rms_norm_kernel(const float* x, std::int64_t rows, NormWeight norm, float* out) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* from = x + row * norm.hidden;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < norm.hidden; i += kThreads) squares += from[i] * from[i];
    const float mean = block_sum(squares) / static_cast<float>(norm.hidden);
    const float scale = 1.0f / sqrtf(mean + norm.epsilon);
    for (int i = threadIdx.x; i < norm.hidden; i += kThreads) {
      out[row * norm.hidden + i] = from[i] * scale * norm.weight[i];
    }
  }
}

__global__ void gather_kernel(const float* x, int width, const std::int64_t* rows,
                              std::int64_t count, float* out) {
  for (std::int64_t row = blockIdx.x; row < count; row += gridDim.x) {
    for (int i = threadIdx.x; i < width; i += kThreads) {
      out[row * width + i] = x[rows[row] * width + i];
    }
  }
}

// A thread per value.

__global__ void add_sum_kernel(const float* const* parts, std::int64_t count, std::int64_t values,
                               float* out) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < values; i += step) {
    float sum = parts[0][i];
    for (std::int64_t part = 1; part < count; ++part) sum += parts[part][i];
    out[i] += sum;
  }
}

__device__ float silu(float x) { return x / (1.0f + expf(-x)); }

// x/2 (1 + tanh(u)) = x / (1 + exp(-2u)).
__device__ float gelu(float x) {
  constexpr float kTwiceSqrt2OverPi = 1.59576912160573071f;
  return x / (1.0f + expf(-kTwiceSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

/// Rows in the grid's y.
template <bool kSilu>
__global__ void glu_kernel(const float* gate_up, std::int64_t rows, int ffn, float* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= ffn) return;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const float gate = gate_up[row * 2 * ffn + i], up = gate_up[row * 2 * ffn + ffn + i];
    out[row * ffn + i] = (kSilu ? silu(gate) : gelu(gate)) * up;
  }
}

template <typename Value>
void embed_from(const Embedding& embedding, const TokenId* tokens, std::int64_t rows, float* out,
                cudaStream_t stream) {
  embed_kernel<<<blocks_for(rows, 1), kThreads, 0, stream>>>(
      reinterpret_cast<const Value*>(embedding.table.data()), embedding.hidden, embedding.scale,
      tokens, rows, out);
}

}  // namespace

void launch_embed(const Embedding& embedding, const TokenId* tokens, std::int64_t rows, float* out,
                  cudaStream_t stream) {
  if (rows == 0) return;
  if (embedding.type == TensorType::kF32) {
    embed_from<float>(embedding, tokens, rows, out, stream);
  } else if (embedding.type == TensorType::kF16) {
    embed_from<__half>(embedding, tokens, rows, out, stream);
  } else {
    expects(embedding.type == TensorType::kBF16, "the table is of a type that GPUs look up in");
    embed_from<__nv_bfloat16>(embedding, tokens, rows, out, stream);
  }
  cuda_check(cudaGetLastError(), "looking up embeddings");
}

void launch_rms_norm(const float* x, std::int64_t rows, const NormWeight& norm, float* out,
                     cudaStream_t stream) {
  if (rows == 0) return;
  rms_norm_kernel<<<blocks_for(rows, 1), kThreads, 0, stream>>>(x, rows, norm, out);
  cuda_check(cudaGetLastError(), "norming rows");
}

void launch_add_sum(const float* const* parts, std::int64_t count, std::int64_t values, float* out,
                    cudaStream_t stream) {
  if (count == 0 || values == 0) return;
  add_sum_kernel<<<blocks_for(values, kThreads), kThreads, 0, stream>>>(parts, count, values, out);
  cuda_check(cudaGetLastError(), "adding sums");
}

void launch_glu(const float* gate_up, std::int64_t rows, int ffn, Activation activation, float* out,
                cudaStream_t stream) {
  if (rows == 0 || ffn == 0) return;
  constexpr std::int64_t kMostY = 65535;
  const dim3 grid(static_cast<unsigned>((std::int64_t{ffn} + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(rows, kMostY)));
  if (activation == Activation::kSilu) {
    glu_kernel<true><<<grid, kThreads, 0, stream>>>(gate_up, rows, ffn, out);
  } else {
    glu_kernel<false><<<grid, kThreads, 0, stream>>>(gate_up, rows, ffn, out);
  }
  cuda_check(cudaGetLastError(), "activating rows");
}

void launch_gather_rows(const float* x, int width, const std::int64_t* rows, std::int64_t count,
                        float* out, cudaStream_t stream) {
  if (count == 0 || width == 0) return;
  gather_kernel<<<blocks_for(count, 1), kThreads, 0, stream>>>(x, width, rows, count, out);
  cuda_check(cudaGetLastError(), "gathering rows");
}

}  // namespace longspan

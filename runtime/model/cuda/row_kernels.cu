#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/early_launch.cuh"
#include "comm/error.h"
#include "runtime/model/cuda/narrow_values.cuh"
#include "runtime/model/cuda/row_kernels.h"

namespace longspan {
namespace {

constexpr int kThreads = 512;

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

__device__ void store(float value, float* out) { *out = value; }
__device__ void store(float value, __nv_bfloat16* out) { *out = __float2bfloat16_rn(value); }
__device__ void store(const float4& values, float* out) {
  *reinterpret_cast<float4*>(out) = values;
}
__device__ void store(const float4& values, __nv_bfloat16* out) {
  *reinterpret_cast<uint2*>(out) = {packed_pair(values.x, values.y),
                                    packed_pair(values.z, values.w)};
}

__device__ float squares_of(float value) { return value * value; }
__device__ float squares_of(const float4& v) {
  return (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
}
__device__ float normed(float value, float scale, float weight) { return value * scale * weight; }
__device__ float4 normed(const float4& v, float scale, const float4& weight) {
  return {v.x * scale * weight.x, v.y * scale * weight.y, v.z * scale * weight.z,
          v.w * scale * weight.w};
}

/// `Value`: what is read at once, a float or four.
template <typename Value, typename Out>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(const float* x, std::int64_t rows, NormWeight norm, Out* out) {
  let_next_kernel_in();
  wait_for_kernel_before();
  constexpr int kAtOnce = sizeof(Value) / sizeof(float);
  const int count = norm.hidden / kAtOnce;
  const auto* weight = reinterpret_cast<const Value*>(norm.weight);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const auto* from = reinterpret_cast<const Value*>(x + row * norm.hidden);
    Out* const to = out + row * norm.hidden;
    float squares = 0.0f;
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += kThreads) squares += squares_of(from[i]);
    const float mean = block_sum(squares) / static_cast<float>(norm.hidden);
    const float scale = 1.0f / sqrtf(mean + norm.epsilon);
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += kThreads) {
      store(normed(from[i], scale, weight[i]), to + i * kAtOnce);
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
  let_next_kernel_in();
  wait_for_kernel_before();
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

/// A thread per eight values.
template <bool kSilu>
__global__ void glu_eights_kernel(const uint4* gate_up, std::int64_t count, int eights,
                                  uint4* out) {
  let_next_kernel_in();
  wait_for_kernel_before();
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) {
    const std::int64_t row = i / eights, gate_at = i + row * eights;
    const uint4 gate = gate_up[gate_at], up = gate_up[gate_at + eights];
    const auto both = [](std::uint32_t g, std::uint32_t u) {
      const auto active = [](float x) { return kSilu ? silu(x) : gelu(x); };
      return packed_pair(active(first_of(g)) * first_of(u), active(second_of(g)) * second_of(u));
    };
    out[i] = {both(gate.x, up.x), both(gate.y, up.y), both(gate.z, up.z), both(gate.w, up.w)};
  }
}

/// Four values at once where the width lets all rows begin at multiples of four.
template <typename Out>
void norm_rows(const float* x, std::int64_t rows, const NormWeight& norm, Out* out,
               cudaStream_t stream) {
  if (rows == 0) return;
  const bool in_fours =
      norm.hidden % 4 == 0 && is_at_vector(x) && is_at_vector(norm.weight) && is_at_vector(out);
  launch_early({.grid = blocks_for(rows, 1), .threads = kThreads, .stream = stream},
               in_fours ? rms_norm_kernel<float4, Out> : rms_norm_kernel<float, Out>,
               "norming rows", x, rows, norm, out);
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
  norm_rows(x, rows, norm, out, stream);
}

void launch_rms_norm(const float* x, std::int64_t rows, const NormWeight& norm, std::uint16_t* out,
                     cudaStream_t stream) {
  norm_rows(x, rows, norm, reinterpret_cast<__nv_bfloat16*>(out), stream);
}

void launch_add_sum(const float* const* parts, std::int64_t count, std::int64_t values, float* out,
                    cudaStream_t stream) {
  if (count == 0 || values == 0) return;
  launch_early({.grid = blocks_for(values, kThreads), .threads = kThreads, .stream = stream},
               add_sum_kernel, "adding sums", parts, count, values, out);
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

void launch_glu(const std::uint16_t* gate_up, std::int64_t rows, int ffn, Activation activation,
                std::uint16_t* out, cudaStream_t stream) {
  expects(ffn % 8 == 0 && is_at_vector(gate_up) && is_at_vector(out), "eight values at once");
  if (rows == 0 || ffn == 0) return;
  const int eights = ffn / 8;
  const std::int64_t count = rows * eights;
  launch_early({.grid = blocks_for(count, kThreads), .threads = kThreads, .stream = stream},
               activation == Activation::kSilu ? glu_eights_kernel<true> : glu_eights_kernel<false>,
               "activating rows", reinterpret_cast<const uint4*>(gate_up), count, eights,
               reinterpret_cast<uint4*>(out));
}

void launch_gather_rows(const float* x, int width, const std::int64_t* rows, std::int64_t count,
                        float* out, cudaStream_t stream) {
  if (count == 0 || width == 0) return;
  gather_kernel<<<blocks_for(count, 1), kThreads, 0, stream>>>(x, width, rows, count, out);
  cuda_check(cudaGetLastError(), "gathering rows");
}

}  // namespace longspan

// A warp turns a head: each lane holds some pairs of dimensions i and i + head_dim/2.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "attention/cuda/grid.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/early_launch.cuh"
#include "runtime/model/cuda/rope_kernels.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMostPairs = 128 / kWarp;  // of a lane: a head has 256 dimensions at most

/// A head as the lanes of a warp hold it: pair p in lane p % 32.
struct Head {
  float low[kMostPairs];
  float high[kMostPairs];
};

/// What the rows of a call have in common, as a kernel uses it.
struct RowShape {
  __device__ explicit RowShape(const QkvRows& rows)
      : dim(rows.heads.head_dim),
        half(dim / 2),
        width((rows.heads.query_heads + 2 * rows.heads.kv_heads) * dim) {}

  int dim;
  int half;
  int width;  // of a row: all heads
};

/// Values [offset, offset + dim) of a row, with their bias.
__device__ Head load_head(const QkvRows& rows, const RowShape& shape, std::int64_t row,
                          int offset) {
  const float* x = rows.qkv + row * shape.width + offset;
  const float* bias = rows.bias ? rows.bias + offset : nullptr;
  Head head;
#pragma unroll
  for (int i = 0; i < kMostPairs; ++i) {
    const int pair = threadIdx.x % kWarp + i * kWarp;
    const bool has = pair < shape.half;
    head.low[i] = has ? x[pair] : 0.0f;
    head.high[i] = has ? x[shape.half + pair] : 0.0f;
    if (has && bias) {
      head.low[i] += bias[pair];
      head.high[i] += bias[shape.half + pair];
    }
  }
  return head;
}

/// The whole warp calls.
__device__ void norm_head(Head& head, const NormWeight& norm, const RowShape& shape) {
  if (norm.weight == nullptr) return;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kMostPairs; ++i) {
    squares += head.low[i] * head.low[i] + head.high[i] * head.high[i];
  }
  const float mean = lanes_sum<kWarp>(squares) / static_cast<float>(shape.dim);
  const float scale = 1.0f / sqrtf(mean + norm.epsilon);
#pragma unroll
  for (int i = 0; i < kMostPairs; ++i) {
    const int pair = threadIdx.x % kWarp + i * kWarp;
    if (pair >= shape.half) continue;
    head.low[i] = head.low[i] * scale * norm.weight[pair];
    head.high[i] = head.high[i] * scale * norm.weight[shape.half + pair];
  }
}

/// `cosines`, then sines: (2 half).
__device__ void turn_head(Head& head, const float* cosines, const RowShape& shape) {
#pragma unroll
  for (int i = 0; i < kMostPairs; ++i) {
    const int pair = threadIdx.x % kWarp + i * kWarp;
    if (pair >= shape.half) continue;
    const float low = head.low[i], high = head.high[i];
    const float cosine = cosines[pair], sine = cosines[shape.half + pair];
    head.low[i] = low * cosine - high * sine;
    head.high[i] = high * cosine + low * sine;
  }
}

__device__ void narrow(float value, float& out) { out = value; }
__device__ void narrow(float value, __nv_bfloat16& out) { out = __float2bfloat16_rn(value); }
/// What it cannot hold becomes its largest number; a NaN stays one.
__device__ void narrow(float value, __half& out) {
  constexpr float kLargest = 65504.0f;
  out = __float2half_rn(isnan(value) ? value : fminf(fmaxf(value, -kLargest), kLargest));
}

template <typename Value>
__device__ void write_head(const Head& head, const RowShape& shape, Value* out) {
#pragma unroll
  for (int i = 0; i < kMostPairs; ++i) {
    const int pair = threadIdx.x % kWarp + i * kWarp;
    if (pair >= shape.half) continue;
    narrow(head.low[i], out[pair]);
    narrow(head.high[i], out[shape.half + pair]);
  }
}

__device__ void store_head(const Head& head, const RowShape& shape, KvType type, void* out,
                           std::int64_t offset) {
  if (type == KvType::kFloat32) {
    write_head(head, shape, static_cast<float*>(out) + offset);
  } else if (type == KvType::kFloat16) {
    write_head(head, shape, static_cast<__half*>(out) + offset);
  } else {
    write_head(head, shape, static_cast<__nv_bfloat16*>(out) + offset);
  }
}

/// A thread per pair of a row.
__global__ void angles_kernel(RopeAngles work) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t item = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
       item < work.rows * work.half; item += step) {
    const std::int64_t row = item / work.half;
    const int pair = static_cast<int>(item % work.half);
    const double angle = static_cast<double>(work.positions[row]) * work.frequencies[pair];
    const double scale = pair < work.turned ? work.scale : 1.0;
    double sine = 0, cosine = 1;
    sincos(angle, &sine, &cosine);
    float* cosines = work.out + row * 2 * work.half;
    cosines[pair] = static_cast<float>(scale * cosine);
    cosines[work.half + pair] = static_cast<float>(scale * sine);
  }
}

/// Some blocks of a grid: this one is `index` of `count`.
struct BlockOf {
  unsigned index, count;

  /// The block's warps and those of the others take items in turn.
  __device__ std::int64_t first_item() const {
    return std::int64_t{index} * kWarps + threadIdx.x / kWarp;
  }
  __device__ std::int64_t step() const { return std::int64_t{count} * kWarps; }
};

/// A warp per query head of a row.
__device__ void turn_queries(const QkvRows& rows, const RowShape& shape, float* q_out,
                             const BlockOf& block) {
  const int heads = rows.heads.query_heads;
  for (std::int64_t item = block.first_item(); item < rows.rows * heads; item += block.step()) {
    const std::int64_t row = item / heads;
    Head head = load_head(rows, shape, row, static_cast<int>(item % heads) * shape.dim);
    norm_head(head, rows.query_norm, shape);
    turn_head(head, rows.angles + row * shape.dim, shape);
    write_head(head, shape, q_out + item * shape.dim);
  }
}

/// A warp per KV head of a row.
__device__ void store_kv(const QkvRows& rows, const RowShape& shape, const KvTarget& target,
                         const BlockOf& block) {
  const int heads = rows.heads.kv_heads;
  for (std::int64_t item = block.first_item(); item < target.rows * heads; item += block.step()) {
    const std::int64_t row = target.row0 + item / heads;
    const int kv_head = static_cast<int>(item % heads);
    const int k = (rows.heads.query_heads + kv_head) * shape.dim;
    const std::int64_t to = target.to.offset(target.column0 + item / heads, kv_head, shape.dim);
    Head head = load_head(rows, shape, row, k);
    norm_head(head, rows.key_norm, shape);
    turn_head(head, rows.angles + row * shape.dim, shape);
    store_head(head, shape, target.to.type, target.to.k, to);
    head = load_head(rows, shape, row, k + heads * shape.dim);
    store_head(head, shape, target.to.type, target.to.v, to);
  }
}

/// The first `turning` blocks turn queries; of the others `storing` at a time share a target.
__global__ void turn_and_store_kernel(QkvRows rows, float* q_out, unsigned turning,
                                      const KvTarget* targets, std::int64_t count,
                                      unsigned storing) {
  let_next_kernel_in();
  wait_for_kernel_before();
  const RowShape shape(rows);
  if (blockIdx.x < turning) return turn_queries(rows, shape, q_out, {blockIdx.x, turning});
  const unsigned block = blockIdx.x - turning;
  const unsigned at_once = (gridDim.x - turning) / storing;
  for (std::int64_t index = block / storing; index < count; index += at_once) {
    store_kv(rows, shape, targets[index], {block % storing, storing});
  }
}

}  // namespace

void launch_rope_angles(const RopeAngles& work, cudaStream_t stream) {
  if (work.rows == 0) return;
  angles_kernel<<<blocks_for(work.rows * work.half, kThreads), kThreads, 0, stream>>>(work);
  cuda_check(cudaGetLastError(), "computing rotary angles");
}

void launch_turn_and_store(const QkvRows& rows, float* q_out, const KvTarget* targets,
                           std::int64_t count, std::int64_t most_rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  constexpr unsigned kMost = 2048;  // fill a GPU
  constexpr std::int64_t kMostTargets = 65536;
  const auto blocks = [&](std::int64_t items) {
    return std::min(blocks_for(items, kWarps), kMost);
  };
  const unsigned turning = blocks(rows.rows * rows.heads.query_heads);
  const unsigned storing = std::max(1U, blocks(most_rows * rows.heads.kv_heads));
  const unsigned all = turning + storing * static_cast<unsigned>(std::min(count, kMostTargets));
  launch_early({.grid = dim3(all), .threads = kThreads, .stream = stream}, turn_and_store_kernel,
               "turning queries and storing keys and values", rows, q_out, turning, targets, count,
               storing);
}

}  // namespace longspan

// Two kernels: partials of splits, then the merge of each row's splits in order.
//
// A block of the first takes one split of one row for up to eight query heads of a KV head:
//
//   scores    a warp per column, values of head_dim in its lanes      K is read in whole lines
//   weights   a warp per head, columns in its lanes
//   sums      a warp per column again, its own sums; then warp 0 + 1 + 2 + 3
//
// Which warp takes a column depends on the column's place in the split only, so the order of every
// sum is fixed.
#include "attention/cuda/element.cuh"
#include "attention/cuda/grid.h"
#include "attention/cuda/merge.cuh"
#include "attention/cuda/reference_decode.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kHeads = 8;  // of one block
constexpr int kSplit = static_cast<int>(kDecodeSplitColumns);
constexpr int kAtOnce = 4;  // columns whose loads a warp has in flight
constexpr int kMaxHeadDim = 256;
static_assert(kSplit % (kWarps * kAtOnce) == 0);

struct SplitMemory {
  void* k[kSplit];  // of each column
  void* v[kSplit];
  float weights[kHeads][kSplit];
  float values[kHeads][kMaxHeadDim];  // queries, then sums
  float m[kHeads];
  float l[kHeads];
};

/// One split, and the query heads [first_head, first_head + heads).
struct SplitTask {
  const ReferenceDecodeRow& row;
  std::int64_t split;
  int columns;
  int kv_head;
  int first_head;
  int heads;
  int head_dim;
  int query_heads;
};

/// Where column `column` of the row lies. All of a row's columns exist.
__device__ void find_column(const SplitTask& task, int i, SplitMemory& memory) {
  std::int64_t column = task.split * kSplit + i;
  const KvSegment* segment = task.row.segments;
  while (column >= segment->len) column -= (segment++)->len;
  const std::int64_t offset = segment->view.offset(column, task.kv_head, task.head_dim);
  with_values(task.row.type, segment->view.k, [&](auto* k) { memory.k[i] = k + offset; });
  with_values(task.row.type, segment->view.v, [&](auto* v) { memory.v[i] = v + offset; });
}

/// kDims values of kAtOnce columns, a lane's share each: value lane + 32 i of column
/// first + kWarps * c. Zeros where there is none.
template <typename Element, int kDims>
__device__ void load_elements(void* const* from, const SplitTask& task, int first,
                              float (&to)[kAtOnce][kDims]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int c = 0; c < kAtOnce; ++c) {
    const int column = first + kWarps * c;
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = lane + kWarp * i;
      const bool exists = column < task.columns && d < task.head_dim;
      to[c][i] = exists ? widen(static_cast<const Element*>(from[column])[d]) : 0.0f;
    }
  }
}

template <int kDims>
__device__ void load_columns(void* const* from, const SplitTask& task, int first,
                             float (&to)[kAtOnce][kDims]) {
  if (task.row.type == KvType::kBFloat16) {
    load_elements<__nv_bfloat16>(from, task, first, to);
  } else {
    load_elements<float>(from, task, first, to);
  }
}

template <int kDims>
__device__ void score(const SplitTask& task, SplitMemory& memory) {
  const int lane = threadIdx.x % kWarp;
  float q[kHeads][kDims] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = lane + kWarp * i;
      if (h < task.heads && d < task.head_dim) q[h][i] = memory.values[h][d];
    }
  }
  for (int first = threadIdx.x / kWarp; first < task.columns; first += kWarps * kAtOnce) {
    float k[kAtOnce][kDims];
    load_columns(memory.k, task, first, k);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= task.heads) continue;
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < kDims; ++i) sum = fmaf(q[h][i], k[c][i], sum);
        sum = lanes_sum<kWarp>(sum);
        const int column = first + kWarps * c;
        if (lane == 0 && column < task.columns) memory.weights[h][column] = sum;
      }
    }
  }
}

/// Scores become e^(score - m).
__device__ void soften(const SplitTask& task, SplitMemory& memory) {
  const int lane = threadIdx.x % kWarp;
  for (int h = threadIdx.x / kWarp; h < task.heads; h += kWarps) {
    float top = -INFINITY;
    for (int i = lane; i < task.columns; i += kWarp) top = fmaxf(top, memory.weights[h][i]);
    top = lanes_max<kWarp>(top);
    const float base = top == -INFINITY ? 0.0f : top;
    float sum = 0.0f;
    for (int i = lane; i < task.columns; i += kWarp) {
      const float weight = expf(memory.weights[h][i] - base);
      memory.weights[h][i] = weight;
      sum += weight;
    }
    sum = lanes_sum<kWarp>(sum);
    if (lane == 0) memory.m[h] = top, memory.l[h] = sum;
  }
}

/// Leaves the sums of weight x V in memory.values.
template <int kDims>
__device__ void accumulate(const SplitTask& task, SplitMemory& memory) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float sums[kHeads][kDims] = {};
  for (int first = warp; first < task.columns; first += kWarps * kAtOnce) {
    float v[kAtOnce][kDims];
    load_columns(memory.v, task, first, v);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= task.heads) continue;
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        const int column = first + kWarps * c;
        const float weight = column < task.columns ? memory.weights[h][column] : 0.0f;
#pragma unroll
        for (int i = 0; i < kDims; ++i) sums[h][i] = fmaf(weight, v[c][i], sums[h][i]);
      }
    }
  }
  for (int turn = 0; turn < kWarps; ++turn) {
    if (turn == warp) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
#pragma unroll
        for (int i = 0; i < kDims; ++i) {
          const int d = lane + kWarp * i;
          if (h >= task.heads || d >= task.head_dim) continue;
          memory.values[h][d] = turn == 0 ? sums[h][i] : memory.values[h][d] + sums[h][i];
        }
      }
    }
    __syncthreads();
  }
}

__device__ void load_queries(const SplitTask& task, float scale, SplitMemory& memory) {
  for (int i = threadIdx.x; i < task.heads * task.head_dim; i += kThreads) {
    const float value = task.row.q[task.first_head * task.head_dim + i];
    memory.values[i / task.head_dim][i % task.head_dim] = value * scale;
  }
}

__device__ void store(const SplitTask& task, const SplitMemory& memory) {
  const std::int64_t at = task.split * task.query_heads + task.first_head;
  const Partial out = task.row.splits;
  for (int i = threadIdx.x; i < task.heads * task.head_dim; i += kThreads) {
    const int h = i / task.head_dim;
    const float l = memory.l[h];
    out.o[at * task.head_dim + i] = l == 0.0f ? 0.0f : memory.values[h][i % task.head_dim] / l;
  }
  for (int h = threadIdx.x; h < task.heads; h += kThreads) {
    const float l = memory.l[h];
    out.lse[at + h] = l == 0.0f ? -INFINITY : memory.m[h] + logf(l);
  }
}

/// Blocks that the readers of a KV head need.
constexpr int head_parts(const HeadShape& shape) {
  return (shape.most_readers() + kHeads - 1) / kHeads;
}

/// Blocks: (row, split) in the grid's x, (KV head, eight of its query heads) in its y.
template <int kDims>
__global__ void __launch_bounds__(kThreads)
    split_kernel(const __grid_constant__ ReferenceDecode work) {
  __shared__ SplitMemory memory;
  const ReferenceDecodeRow& row = work.rows[blockIdx.x / work.most_splits];
  const std::int64_t split = blockIdx.x % work.most_splits;
  const std::int64_t left = row.columns - split * kSplit;
  if (left <= 0) return;
  const int parts = head_parts(work.shape);
  const int kv_head = static_cast<int>(blockIdx.y) / parts;
  const HeadRange readers = work.shape.readers(kv_head);
  const int first_reader = static_cast<int>(blockIdx.y) % parts * kHeads;
  if (first_reader >= readers.count) return;  // other KV heads of the slice have more readers
  const SplitTask task{row,
                       split,
                       static_cast<int>(min(left, kDecodeSplitColumns)),
                       kv_head,
                       readers.first + first_reader,
                       min(kHeads, readers.count - first_reader),
                       work.shape.head_dim,
                       work.shape.query_heads};

  for (int i = threadIdx.x; i < task.columns; i += kThreads) find_column(task, i, memory);
  load_queries(task, work.scale, memory);
  __syncthreads();
  score<kDims>(task, memory);
  __syncthreads();
  soften(task, memory);
  __syncthreads();
  accumulate<kDims>(task, memory);
  store(task, memory);
}

constexpr int kMergeWarps = 8;

/// A warp per row and head. A row without columns becomes empty here.
__global__ void merge_splits_kernel(const __grid_constant__ ReferenceDecode work) {
  const int heads = work.shape.query_heads, head_dim = work.shape.head_dim;
  const std::int64_t stride = std::int64_t{gridDim.x} * kMergeWarps;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kMergeWarps + threadIdx.x / kWarp;
       i < work.row_count * heads; i += stride) {
    const ReferenceDecodeRow& row = work.rows[i / heads];
    const auto split = [&](std::int64_t s) {
      return Partial{row.splits.o + s * heads * head_dim, row.splits.lse + s * heads};
    };
    const int bad = merge_at(split, decode_splits(row.columns), row.out, i % heads, head_dim);
    if (bad > 0 && threadIdx.x % kWarp == 0) {
      atomicAdd(work.bad_total, static_cast<unsigned long long>(bad));
    }
  }
}

using Kernel = void (*)(ReferenceDecode);

Kernel kernel_for(int head_dim) {
  if (head_dim <= 64) return split_kernel<2>;
  if (head_dim <= 128) return split_kernel<4>;
  return split_kernel<8>;
}

}  // namespace

void launch_reference_decode(const ReferenceDecode& work, cudaStream_t stream) {
  if (work.row_count == 0) return;
  const HeadShape& shape = work.shape;
  const std::int64_t blocks = work.row_count * work.most_splits;
  expects(blocks < (std::int64_t{1} << 31), "a decode batch fits into one grid");
  if (blocks > 0) {
    const dim3 grid(static_cast<unsigned>(blocks), shape.kv_heads * head_parts(shape));
    kernel_for(shape.head_dim)<<<grid, kThreads, 0, stream>>>(work);
    cuda_check(cudaGetLastError(), "attending splits of decode rows");
  }
  merge_splits_kernel<<<blocks_for(work.row_count * shape.query_heads, kMergeWarps),
                        kMergeWarps * kWarp, 0, stream>>>(work);
  cuda_check(cudaGetLastError(), "merging splits of decode rows");
}

}  // namespace longspan

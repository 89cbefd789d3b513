// FlashAttention-2 (arXiv 2307.08691, algorithm 1) in float. A block takes 64 packed rows of one KV
// head: the query heads that read it are packed over token rows (packed row p is the head of reader
// p mod readers, and token row p div readers), so they share every key that is fetched.
//
//   scores   (64 rows, 64 columns)     thread (y, x): rows 4y..4y+3, columns x, x+16, x+32, x+48
//   acc      (64 rows, head_dim)       thread (y, x): the same rows, values 4x..4x+3, + 64, ...
//
// The 16 threads x of a row are neighbouring lanes, so a row's maximum and sum are shuffles. Rows
// of shared memory are padded by four values: sixteen threads that read sixteen rows, or a warp
// that reads one, then meet each bank as seldom as can be.
//
// A row's bits depend on its own columns only: tiles begin at column 0 of each segment, sums have
// one order, and what a row does not see adds exact zeros. So carrying the state from launch to
// launch changes nothing either.
#include "attention/cuda/element.cuh"
#include "attention/cuda/reference_attend.h"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kTileRows = 64;
constexpr int kTileColumns = 64;
constexpr int kX = 16;
constexpr int kThreads = 256;
constexpr int kRows = kTileRows / (kThreads / kX);  // of a thread
constexpr int kColumns = kTileColumns / kX;         // of a thread
constexpr int kPad = 4;
constexpr int kWeightStride = kTileColumns + kPad;

constexpr std::size_t shared_bytes(int head_dim) {
  return sizeof(float) * (std::size_t{kTileRows + kTileColumns} * (head_dim + kPad) +
                          std::size_t{kTileRows} * kWeightStride);
}

/// Four floats at a multiple of 16 bytes.
__device__ void load4(const float* from, float (&to)[4]) {
  const float4 value = *reinterpret_cast<const float4*>(from);
  to[0] = value.x, to[1] = value.y, to[2] = value.z, to[3] = value.w;
}

/// The packed rows of one block. Rows behind the last one repeat it and are not stored.
struct RowTile {
  const ReferenceAttend& work;
  std::int64_t first;
  int kv_head;
  HeadRange readers;

  __device__ std::int64_t packed_rows() const { return work.rows * readers.count; }
  __device__ bool holds(int row) const { return first + row < packed_rows(); }
  __device__ std::int64_t packed(int row) const { return min(first + row, packed_rows() - 1); }
  __device__ std::int64_t token_row(int row) const { return packed(row) / readers.count; }
  /// Row and head as one index into the arrays of queries and state.
  __device__ std::int64_t row_head(int row) const {
    return token_row(row) * work.shape.query_heads + readers.first + packed(row) % readers.count;
  }
};

/// kQuads x 64 >= head_dim.
template <int kQuads>
struct ThreadState {
  float acc[kRows][kQuads][4] = {};
  float m[kRows];
  float l[kRows];
};

/// What a row tile sees of a segment: all its rows see the columns `all`, none sees any outside of
/// `some`.
struct Seen {
  Interval all;
  Interval some;
};

/// Leaves in `columns` what each row sees.
__device__ Seen find_seen(const RowTile& tile, const KvSegment& segment, Interval* columns) {
  __syncthreads();  // the segment before is done with `columns`
  for (int row = threadIdx.x; row < kTileRows; row += kThreads) {
    columns[row] = segment.seen(tile.work.positions[tile.token_row(row)]);
  }
  __syncthreads();
  Seen seen{{0, segment.len}, {segment.len, 0}};
  for (int row = 0; row < kTileRows; ++row) {
    const Interval of_row = columns[row];
    seen.all = {max(seen.all.begin, of_row.begin), min(seen.all.end, of_row.end)};
    if (of_row.begin == of_row.end) continue;
    seen.some = {min(seen.some.begin, of_row.begin), max(seen.some.end, of_row.end)};
  }
  return seen;
}

/// Where the tile's columns lie in K and in V; -1 for those that no row sees.
__device__ void find_columns(const KvSegment& segment, const RowTile& tile, std::int64_t first,
                             const Interval& some, std::int64_t* offsets) {
  for (int i = threadIdx.x; i < kTileColumns; i += kThreads) {
    const std::int64_t column = first + i;
    const bool used = column >= some.begin && column < some.end;
    offsets[i] = used ? segment.view.offset(column, tile.kv_head, tile.work.shape.head_dim) : -1;
  }
}

/// A warp per column. Columns without a place are zeros: nothing is read for them.
template <typename Element>
__device__ void load_columns(const Element* from, const std::int64_t* offsets, int head_dim,
                             float* to) {
  for (int column = threadIdx.x / kWarp; column < kTileColumns; column += kThreads / kWarp) {
    const std::int64_t offset = offsets[column];
    for (int d = threadIdx.x % kWarp; d < head_dim; d += kWarp) {
      to[column * (head_dim + kPad) + d] = offset < 0 ? 0.0f : widen(from[offset + d]);
    }
  }
}

__device__ void load_queries(const RowTile& tile, float* q) {
  const int head_dim = tile.work.shape.head_dim;
  for (int row = threadIdx.x / kWarp; row < kTileRows; row += kThreads / kWarp) {
    const float* from = tile.work.q + tile.row_head(row) * head_dim;
    for (int d = threadIdx.x % kWarp; d < head_dim; d += kWarp) {
      q[row * (head_dim + kPad) + d] = from[d] * tile.work.scale;
    }
  }
}

__device__ void score(const float* q, const float* k, int head_dim, int y, int x,
                      float (&scores)[kRows][kColumns]) {
  const int stride = head_dim + kPad;
  for (int d = 0; d < head_dim; d += 4) {
    float queries[kRows][4], keys[kColumns][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) load4(q + (y * kRows + i) * stride + d, queries[i]);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) load4(k + (x + j * kX) * stride + d, keys[j]);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
#pragma unroll
        for (int n = 0; n < 4; ++n) scores[i][j] = fmaf(queries[i][n], keys[j][n], scores[i][j]);
      }
    }
  }
}

/// Columns that a row does not see do not count for it.
__device__ void mask(const Interval* columns, std::int64_t first, int y, int x,
                     float (&scores)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const Interval of_row = columns[y * kRows + i];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const std::int64_t column = first + x + j * kX;
      if (column < of_row.begin || column >= of_row.end) scores[i][j] = -INFINITY;
    }
  }
}

/// Turns scores into weights e^(score - m) with the new maximum m, and scales what was summed so
/// far down to it.
template <int kQuads>
__device__ void soften(const float (&scores)[kRows][kColumns], int y, int x,
                       ThreadState<kQuads>& state, float* weights) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    float top = state.m[i];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) top = fmaxf(top, scores[i][j]);
    top = lanes_max<kX>(top);
    // Nothing seen yet and nothing to see here: (-inf) - (-inf) must not be evaluated.
    const float base = top == -INFINITY ? 0.0f : top;
    const float factor = expf(state.m[i] - base);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const float weight = expf(scores[i][j] - base);
      weights[(y * kRows + i) * kWeightStride + x + j * kX] = weight;
      sum += weight;
    }
    state.m[i] = top;
    state.l[i] = fmaf(state.l[i], factor, lanes_sum<kX>(sum));
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
#pragma unroll
      for (int n = 0; n < 4; ++n) state.acc[i][quad][n] *= factor;
    }
  }
}

/// acc += weights x V. kGuarded: a column that a row does not see may hold NaN, and 0 * NaN is NaN.
template <bool kGuarded, int kQuads>
__device__ void accumulate(const float* weights, const float* v, int head_dim, int y, int x,
                           ThreadState<kQuads>& state) {
  const int stride = head_dim + kPad;
  for (int column = 0; column < kTileColumns; column += 4) {
    float weight[kRows][4];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      load4(weights + (y * kRows + i) * kWeightStride + column, weight[i]);
    }
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int d = quad * 4 * kX + 4 * x;
      if (d >= head_dim) continue;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        float values[4];
        load4(v + (column + c) * stride + d, values);
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float w = weight[i][c];
#pragma unroll
          for (int n = 0; n < 4; ++n) {
            const float value = kGuarded && w == 0.0f ? 0.0f : values[n];
            state.acc[i][quad][n] = fmaf(w, value, state.acc[i][quad][n]);
          }
        }
      }
    }
  }
}

template <int kQuads>
__device__ void load_state(const RowTile& tile, int y, int x, ThreadState<kQuads>& state) {
  const int head_dim = tile.work.shape.head_dim;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const std::int64_t at = tile.row_head(y * kRows + i);
    state.m[i] = tile.work.state.m[at];
    state.l[i] = tile.work.state.l[at];
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int d = quad * 4 * kX + 4 * x;
      if (d >= head_dim) continue;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        state.acc[i][quad][n] = tile.work.state.acc[at * head_dim + d + n];
      }
    }
  }
}

template <int kQuads>
__device__ void store_state(const RowTile& tile, int y, int x, const ThreadState<kQuads>& state) {
  const int head_dim = tile.work.shape.head_dim;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (!tile.holds(y * kRows + i)) continue;
    const std::int64_t at = tile.row_head(y * kRows + i);
    if (x == 0) {
      tile.work.state.m[at] = state.m[i];
      tile.work.state.l[at] = state.l[i];
    }
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int d = quad * 4 * kX + 4 * x;
      if (d >= head_dim) continue;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        tile.work.state.acc[at * head_dim + d + n] = state.acc[i][quad][n];
      }
    }
  }
}

template <int kQuads>
__global__ void __launch_bounds__(kThreads, kQuads == 4 ? 1 : 2)
    attend_kernel(const __grid_constant__ ReferenceAttend work) {
  extern __shared__ __align__(16) float shared[];
  __shared__ Interval of_rows[kTileRows];
  __shared__ std::int64_t offsets[kTileColumns];
  const int head_dim = work.shape.head_dim, kv_heads = work.shape.kv_heads;
  float* const q = shared;                                   // (kTileRows, head_dim + kPad)
  float* const columns = q + kTileRows * (head_dim + kPad);  // (kTileColumns, head_dim + kPad)
  float* const weights = columns + kTileColumns * (head_dim + kPad);  // (kTileRows, kWeightStride)

  const int y = threadIdx.x / kX, x = threadIdx.x % kX;
  // Under a causal mask late rows see most: they start first, so that no block is left with a long
  // task at the end.
  const std::int64_t index = gridDim.x / kv_heads - 1 - blockIdx.x / kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x % kv_heads);
  const RowTile tile{work, index * kTileRows, kv_head, work.shape.readers(kv_head)};
  if (!tile.holds(0)) return;  // other KV heads of the slice have more readers
  load_queries(tile, q);
  ThreadState<kQuads> state;
  load_state(tile, y, x, state);

  for (std::int64_t s = 0; s < work.segment_count; ++s) {
    const KvSegment& segment = work.segments[s];
    const Seen seen = find_seen(tile, segment, of_rows);
    for (std::int64_t first = seen.some.begin / kTileColumns * kTileColumns; first < seen.some.end;
         first += kTileColumns) {
      const bool masked = first < seen.all.begin || first + kTileColumns > seen.all.end;
      // The last to read `offsets` was the load of V, which a barrier followed.
      find_columns(segment, tile, first, seen.some, offsets);
      __syncthreads();  // the tile before is done with `columns`, the offsets are written
      with_values(segment.view.type, segment.view.k,
                  [&](const auto* k) { load_columns(k, offsets, head_dim, columns); });
      __syncthreads();
      float scores[kRows][kColumns] = {};
      score(q, columns, head_dim, y, x, scores);
      if (masked) mask(of_rows, first, y, x, scores);
      soften(scores, y, x, state, weights);
      __syncthreads();  // K has been read, the weights are written
      with_values(segment.view.type, segment.view.v,
                  [&](const auto* v) { load_columns(v, offsets, head_dim, columns); });
      __syncthreads();
      if (masked) {
        accumulate<true>(weights, columns, head_dim, y, x, state);
      } else {
        accumulate<false>(weights, columns, head_dim, y, x, state);
      }
    }
  }
  store_state(tile, y, x, state);
}

using Kernel = void (*)(ReferenceAttend);

Kernel kernel_for(int head_dim) {
  if (head_dim <= 64) return attend_kernel<1>;
  if (head_dim <= 128) return attend_kernel<2>;
  return attend_kernel<4>;
}

}  // namespace

void prepare_reference_attend(int head_dim) {
  // Of the largest head_dim that shares the kernel: another set of kernels may be at work with it.
  const int largest = head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
  cuda_check(cudaFuncSetAttribute(kernel_for(head_dim), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_bytes(largest))),
             "the attention kernel needs more shared memory than this GPU has");
}

void launch_reference_attend(const ReferenceAttend& work, cudaStream_t stream) {
  const std::int64_t packed_rows = work.rows * work.shape.most_readers();
  const std::int64_t tiles = (packed_rows + kTileRows - 1) / kTileRows;
  const std::int64_t blocks = tiles * work.shape.kv_heads;
  if (blocks == 0 || work.segment_count == 0) return;
  expects(blocks < (std::int64_t{1} << 31), "the rows of a launch fit into one grid");
  kernel_for(work.shape.head_dim)<<<static_cast<unsigned>(blocks), kThreads,
                                    shared_bytes(work.shape.head_dim), stream>>>(work);
  cuda_check(cudaGetLastError(), "attending");
}

}  // namespace longspan

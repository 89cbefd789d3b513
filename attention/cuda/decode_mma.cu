// FlashDecoding's two kernels: partials of splits, then the merge of each row's splits.
//
// A warp takes one split of one row for all query heads of a KV head, and then the next; nothing
// but its own lanes does it ever wait for. It keeps a ring of tiles of 16 columns on their way:
//
//   fetch     K0 V0 | K1 V1 | K2 V2 | ...        goes on into the next split while this one ends
//   fold               K0 V0 | K1 V1 | ...       scores, softmax, values
//
// The matrix units multiply 16 rows at once and a group of heads has 8 at most. The other 8 rows
// take what bfloat16 leaves of the first 8, of queries and of weights: products are then of factors
// of 16 bits and more, at no cost.
//
//   rows 0-7     the heads' queries, rounded       weights, rounded
//   rows 8-15    what rounding took from them      what rounding took from them
//
// In shared memory the 16-byte pieces of a tile's row r are exchanged by XOR with r mod 8, so that
// neither eight rows nor eight pieces meet in one bank.
//
// m is kept in units of log2: queries are multiplied by scale x log2(e).
#include <cmath>

#include "attention/cuda/decode_mma.h"
#include "attention/cuda/merge.cuh"
#include "attention/cuda/mma.cuh"
#include "attention/cuda/softmax.cuh"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/cuda/early_launch.cuh"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kWarps = 4;  // of a block; two of these fit into a Hopper's multiprocessor
constexpr int kThreads = kWarps * kWarp;
constexpr int kTileColumns = 16;
constexpr int kStageValues = 384;  // stages x head_dim: 24 KB of K and V for a warp
constexpr int kPieceBytes = 16;
constexpr float kLn2 = 0.6931471805599453f;

template <int kHeadDim>
struct Ring {
  static constexpr int kStages = kStageValues / kHeadDim;
  static constexpr int kRowBytes = kHeadDim * static_cast<int>(sizeof(__nv_bfloat16));
  static constexpr int kPieces = kRowBytes / kPieceBytes;
  static constexpr int kTileBytes = kTileColumns * kRowBytes;
  static constexpr int kBytes = kStages * 2 * kTileBytes;

  static constexpr int next(int stage) { return stage + 1 == kStages ? 0 : stage + 1; }
  /// Of K in a stage; V's tile lies behind.
  static constexpr std::uint32_t tile(int stage) { return stage * 2 * kTileBytes; }
  static constexpr std::uint32_t piece(int row, int piece) {
    return row * kRowBytes + ((piece ^ (row % 8)) * kPieceBytes);
  }
};

/// A split for one KV head.
struct Task {
  DecodeSplit split;
  int kv_head;
};

/// The splits that a warp takes: those of one KV head's neighbours go to other multiprocessors.
class TaskWalk {
 public:
  __device__ explicit TaskWalk(const MmaDecode& work)
      : splits_(work.splits),
        kv_heads_(work.shape.kv_heads),
        count_(work.counts->splits * kv_heads_),
        at_(static_cast<std::int32_t>(threadIdx.x / kWarp * gridDim.x + blockIdx.x)) {}

  __device__ bool has_task() const { return at_ < count_; }
  __device__ Task task() const {
    const std::int32_t index = at_ / kv_heads_;
    return {splits_[index], at_ - index * kv_heads_};
  }
  __device__ void advance() {
    const auto step = static_cast<std::int32_t>(gridDim.x) * kWarps;
    at_ = count_ - at_ > step ? at_ + step : count_;
  }

 private:
  const DecodeSplit* splits_;
  std::int32_t kv_heads_, count_, at_;
};

/// Where the values of one column after the other lie: a lane's own.
template <int kHeadDim>
class ColumnFinder {
 public:
  const __nv_bfloat16* k;
  const __nv_bfloat16* v;

  /// `keys` hold the column, or are before those that do.
  __device__ void begin(const SplitKeys* keys, int kv_head, std::int32_t column) {
    kv_head_ = kv_head;
    load(keys);
    find(column);
  }
  /// Columns never fall.
  __device__ void find(std::int32_t column) {
    while (column >= keys_.end) load(next_);
    const auto inside = static_cast<std::uint32_t>(column - keys_.begin);
    const auto page_tokens = static_cast<std::uint32_t>(keys_.page_tokens);
    const std::uint32_t page = inside / page_tokens;
    const std::int64_t slot = keys_.table ? keys_.table[page] : page;
    const std::int64_t offset = kv_head_ * keys_.head_stride + slot * keys_.page_stride +
                                std::int64_t{inside - page * page_tokens} * kHeadDim;
    k = static_cast<const __nv_bfloat16*>(keys_.k) + offset;
    v = static_cast<const __nv_bfloat16*>(keys_.v) + offset;
  }

 private:
  __device__ void load(const SplitKeys* keys) {
    keys_ = *keys;
    next_ = keys + 1;
  }

  SplitKeys keys_;
  const SplitKeys* next_;
  int kv_head_;
};

/// Has the tiles of a warp's tasks copied, one after the other. Where the next one lies is found
/// when the one before is asked for: looking into a table takes as long as folding a tile.
template <int kHeadDim>
class Fetcher {
 public:
  __device__ Fetcher(const MmaDecode& work, std::uint32_t ring)
      : keys_(work.keys),
        walk_(work),
        ring_(ring),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        policy_(read_once_policy()) {
    begin_task();
  }

  /// Has the first tiles brought to L2, which may be done before they are written: L2 sees every
  /// store.
  __device__ void fetch_to_l2() const {
    ColumnFinder<kHeadDim> finder = finder_;
#pragma unroll 1
    for (std::int32_t first = 0; first < kTilesToL2 * kTileColumns; first += kTileColumns) {
      if (first + lane_ % kTileColumns >= left_) break;
      if (first > 0) finder.find(column_ + first);
      fetch_to_l2(lane_ < kTileColumns ? finder.k : finder.v);
    }
  }

  /// One group: a tile, or nothing behind the last.
  __device__ void fetch() {
    if (left_ > 0) {
      copy_tile(ring_ + Shape::tile(stage_));
      left_ -= kTileColumns;
      column_ += kTileColumns;
      if (left_ > 0) {
        finder_.find(min(column_, last_));
      } else {
        walk_.advance();
        begin_task();
      }
      __syncwarp();  // lanes may have looked through different segments
    }
    end_copy_group();
    stage_ = Shape::next(stage_);
  }

 private:
  using Shape = Ring<kHeadDim>;
  static constexpr int kRowsAtOnce = kWarp / Shape::kPieces;
  static constexpr int kTilesToL2 = 2;

  __device__ void begin_task() {
    if (!walk_.has_task()) return;
    const Task task = walk_.task();
    left_ = task.split.columns;
    last_ = task.split.first_column + left_ - 1;
    column_ = task.split.first_column + lane_ % kTileColumns;
    finder_.begin(keys_ + task.split.keys, task.kv_head, min(column_, last_));
  }

  /// Whole rows of 256 or 128 bytes at a time. Rows behind the last column become zeros: what lies
  /// there in memory may be NaN.
  __device__ void copy_tile(std::uint32_t tile) const {
    const int piece = lane_ % Shape::kPieces;
#pragma unroll
    for (int i = 0; i < kTileColumns / kRowsAtOnce; ++i) {
      const int row = i * kRowsAtOnce + lane_ / Shape::kPieces;
      const int bytes = row < left_ ? kPieceBytes : 0;
      const std::uint32_t to = tile + Shape::piece(row, piece);
      copy_16(to, of_lane(finder_.k, row) + piece * 8, bytes, policy_);
      copy_16(to + Shape::kTileBytes, of_lane(finder_.v, row) + piece * 8, bytes, policy_);
    }
  }

  /// A row of a tile. Where no kernel begins before the one before has ended it would gain nothing.
  __device__ static void fetch_to_l2(const __nv_bfloat16* row) {
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(row), "n"(Shape::kRowBytes));
#endif
  }

  __device__ static const __nv_bfloat16* of_lane(const __nv_bfloat16* pointer, int lane) {
    return reinterpret_cast<const __nv_bfloat16*>(__shfl_sync(
        0xffffffffu, static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(pointer)),
        lane));
  }

  const SplitKeys* keys_;
  TaskWalk walk_;
  std::uint32_t ring_;
  int lane_;
  std::uint64_t policy_;
  int stage_ = 0;
  std::int32_t left_ = 0;  // columns from the next tile on
  std::int32_t last_ = 0;  // column of the task
  std::int32_t column_ = 0;
  ColumnFinder<kHeadDim> finder_;
};

/// The softmax of a group of heads over the columns of a split. Head g of the group is in lanes 4 g
/// to 4 g + 3.
template <int kHeadDim>
class HeadGroup {
 public:
  __device__ HeadGroup(const float* q, HeadRange heads, float scale)
      : heads_(heads), lane_(static_cast<int>(threadIdx.x) % kWarp) {
    const bool exists = lane_ / 4 < heads.count;
    const float* const from = q + (heads.first + lane_ / 4) * kHeadDim + lane_ % 4 * 2;
    // Callers' queries may begin at any float.
#pragma unroll
    for (int i = 0; i < kSteps * 2; ++i) {
      const float x = exists ? from[8 * i] * scale : 0.0f;
      const float y = exists ? from[8 * i + 1] * scale : 0.0f;
      const SplitPair pair = split_pair(x, y);
      q_[i / 2][i % 2 * 2] = pair.high;
      q_[i / 2][i % 2 * 2 + 1] = pair.low;
    }
  }

  /// The first `columns` of a tile.
  __device__ void fold(std::uint32_t tile, int columns) {
    float scores[4];  // of columns 2t, 2t + 1, 2t + 8, 2t + 9
    multiply_keys(tile, scores);
    if (columns < kTileColumns) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = lane_ % 4 * 2 + i / 2 * 8 + i % 2;
        if (column >= columns) scores[i] = -INFINITY;
      }
    }
    soften(scores);
    const SplitPair first = split_pair(scores[0], scores[1]);
    const SplitPair second = split_pair(scores[2], scores[3]);
    add_values(tile + Shape::kTileBytes, {first.high, first.low, second.high, second.low});
  }

  /// The partial of a split, which is the part-th.
  __device__ void store(Partial parts, std::int64_t part, int query_heads) {
    const float l = lanes_sum<4>(l_);
    if (lane_ / 4 >= heads_.count) return;
    const std::int64_t at = part * query_heads + heads_.first + lane_ / 4;
    const float factor = l == 0.0f ? 0.0f : 1.0f / l;
    float* const o = parts.o + at * kHeadDim + lane_ % 4 * 2;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
      *reinterpret_cast<float2*>(o + 8 * i) = {(o_[i][0] + o_[i][2]) * factor,
                                               (o_[i][1] + o_[i][3]) * factor};
    }
    if (lane_ % 4 == 0) parts.lse[at] = l == 0.0f ? -INFINITY : (m_ + log2f(l)) * kLn2;
  }

 private:
  using Shape = Ring<kHeadDim>;
  static constexpr int kSteps = kHeadDim / 16;

  __device__ void multiply_keys(std::uint32_t tile, float (&scores)[4]) const {
    // Two chains of each eight columns: one would be waited for at every step.
    float sums[2][2][4] = {};
    const int row = lane_ % 8 + lane_ / 16 * 8;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t k[4];
      load_matrices(tile + Shape::piece(row, 2 * step + lane_ / 8 % 2), k);
      multiply(sums[step % 2][0], q_[step], k[0], k[1]);
      multiply(sums[step % 2][1], q_[step], k[2], k[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto whole = [&](int chain) {
        return sums[chain][i / 2][i % 2] + sums[chain][i / 2][i % 2 + 2];
      };
      scores[i] = whole(0) + whole(1);
    }
  }

  /// Scores become weights; m, l and O take them in.
  __device__ void soften(float (&scores)[4]) {
    const float top = fmaxf(fmaxf(scores[0], scores[1]), fmaxf(scores[2], scores[3]));
    const float m = fmaxf(m_, lanes_max<4>(top));
    // Nothing but -inf so far: (-inf) - (-inf) must not be evaluated.
    const float base = m == -INFINITY ? 0.0f : m;
    if (__any_sync(0xffffffffu, m != m_)) {
      const float factor = exp2f(m_ - base);  // 1 where only other heads' m has moved
      l_ *= factor;
#pragma unroll
      for (auto& o : o_) {
#pragma unroll
        for (float& value : o) value *= factor;
      }
      m_ = m;
    }
#pragma unroll
    for (float& score : scores) score = exp2f(score - base);
    l_ += (scores[0] + scores[1]) + (scores[2] + scores[3]);
  }

  __device__ void add_values(std::uint32_t tile, const std::uint32_t (&weights)[4]) {
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; i += 2) {
      std::uint32_t v[4];
      load_columns(tile + Shape::piece(lane_ % 16, i + lane_ / 16), v);
      multiply(o_[i], weights, v[0], v[1]);
      multiply(o_[i + 1], weights, v[2], v[3]);
    }
  }

  HeadRange heads_;
  int lane_;
  float m_ = -INFINITY;
  float l_ = 0.0f;  // of this lane's columns
  std::uint32_t q_[kSteps][4];
  float o_[kHeadDim / 8][4] = {};
};

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2)
    split_kernel(const __grid_constant__ MmaDecode work) {
  using Shape = Ring<kHeadDim>;
  extern __shared__ __align__(128) std::byte memory[];
  let_next_kernel_in();
  const auto ring = static_cast<std::uint32_t>(__cvta_generic_to_shared(memory)) +
                    threadIdx.x / kWarp * Shape::kBytes;
  // The description was copied right before this kernel, and a copy lets nothing in early, or
  // before the whole graph: only the queries and the latest columns are waited for.
  Fetcher<kHeadDim> fetcher(work, ring);
  fetcher.fetch_to_l2();
  wait_for_kernel_before();
#pragma unroll 1
  for (int i = 1; i < Shape::kStages; ++i) fetcher.fetch();
  int stage = 0;
#pragma unroll 1
  for (TaskWalk walk(work); walk.has_task(); walk.advance()) {
    const Task task = walk.task();
    HeadGroup<kHeadDim> heads(work.rows[task.split.row].q, work.shape.readers(task.kv_head),
                              work.scale * kLog2e);
#pragma unroll 1
    for (std::int32_t left = task.split.columns; left > 0; left -= kTileColumns) {
      wait_for_copies<Shape::kStages - 2>();
      __syncwarp();  // other lanes' copies are here, and the stage before has been read
      fetcher.fetch();
      heads.fold(ring + Shape::tile(stage), min(left, kTileColumns));
      stage = Shape::next(stage);
    }
    heads.store(work.parts, task.split.part, work.shape.query_heads);
  }
}

constexpr int kMergeWarps = 8;
constexpr int kMergeThreads = kMergeWarps * kWarp;
constexpr int kSplitsOfWarp = kMostSplits / kMergeWarps;
constexpr int kSplitWarps = kMostSplits / kWarp;  // whose lanes have a split each

/// A lane's share of a split's O: loaded at once.
template <int kHeadDim>
struct alignas(kHeadDim / kWarp * sizeof(float)) Share {
  float values[kHeadDim / kWarp];
};

struct MergeMemory {
  float weights[kMostSplits];
  float tops[kSplitWarps];
  float totals[kSplitWarps];
};

/// Leaves the weight of each split in memory; the result is their sum, and log-sum-exp's.
struct MergeTotal {
  float denominator, lse;
};
__device__ MergeTotal weigh(float lse, MergeMemory& memory) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const float top_here = lanes_max<kWarp>(is_bad(lse) ? -INFINITY : lse);
  if (warp < kSplitWarps) memory.tops[warp] = top_here;
  __syncthreads();
  float top = -INFINITY;
  for (float one : memory.tops) top = fmaxf(top, one);
  const float weight = merge_weight(lse, top);
  const float total_here = lanes_sum<kWarp>(weight);
  if (warp < kSplitWarps) {
    memory.weights[threadIdx.x] = weight;
    memory.totals[warp] = total_here;
  }
  __syncthreads();
  float total = 0.0f;
  for (float one : memory.totals) total += one;
  return {total, total == 0.0f ? -INFINITY : top + logf(total)};
}

/// A block per row and head. A row without columns becomes empty here.
template <int kHeadDim>
__global__ void __launch_bounds__(kMergeThreads)
    merge_kernel(const __grid_constant__ MmaDecode work) {
  let_next_kernel_in();
  __shared__ MergeMemory memory;
  __shared__ Share<kHeadDim> sums[kMergeWarps][kWarp];
  const int heads = work.shape.query_heads, thread = static_cast<int>(threadIdx.x);
  const int row_index = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) % heads;
  // The description was here before the splits began: only their partials are waited for.
  const bool exists = row_index < work.counts->rows;
  const SplitRow row = exists ? work.rows[row_index] : SplitRow{};
  wait_for_kernel_before();
  if (!exists) return;
  const int warp = thread / kWarp, lane = thread % kWarp;
  const auto at = [&](int split) { return (std::int64_t{row.first_part} + split) * heads + head; };

  Share<kHeadDim> parts[kSplitsOfWarp];
#pragma unroll
  for (int i = 0; i < kSplitsOfWarp; ++i) {
    const int split = warp + kMergeWarps * i;
    if (split >= row.splits) continue;
    parts[i] = *reinterpret_cast<const Share<kHeadDim>*>(work.parts.o + at(split) * kHeadDim +
                                                         lane * (kHeadDim / kWarp));
  }
  const float lse = thread < row.splits ? work.parts.lse[at(thread)] : -INFINITY;
  const int bad = __syncthreads_count(is_bad(lse));
  const MergeTotal total = weigh(lse, memory);

  Share<kHeadDim> sum{};
#pragma unroll
  for (int i = 0; i < kSplitsOfWarp; ++i) {
    const int split = warp + kMergeWarps * i;
    const float weight = split < row.splits ? memory.weights[split] : 0.0f;
    if (weight == 0.0f) continue;  // an empty one may hold NaN, and 0 * NaN is NaN
#pragma unroll
    for (int n = 0; n < kHeadDim / kWarp; ++n) {
      sum.values[n] = fmaf(weight, parts[i].values[n], sum.values[n]);
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (thread < kHeadDim) {
    float o = 0.0f;
    for (const auto& of_warp : sums) o += reinterpret_cast<const float*>(of_warp)[thread];
    row.out.o[head * kHeadDim + thread] = total.denominator == 0.0f ? 0.0f : o / total.denominator;
  }
  if (thread > 0) return;
  row.out.lse[head] = total.lse;
  if (bad > 0) atomicAdd(work.bad_total, static_cast<unsigned long long>(bad));
}

using Kernel = void (*)(MmaDecode);

Kernel split_kernel_for(int head_dim) {
  return head_dim == 64 ? split_kernel<64> : split_kernel<128>;
}
Kernel merge_kernel_for(int head_dim) {
  return head_dim == 64 ? merge_kernel<64> : merge_kernel<128>;
}
std::size_t shared_bytes_for(int head_dim) {
  return kWarps * (head_dim == 64 ? Ring<64>::kBytes : Ring<128>::kBytes);
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cuda_check(cudaGetDevice(&device), "the current GPU");
  cuda_check(cudaDeviceGetAttribute(&value, which, device), "a GPU");
  return value;
}

}  // namespace

bool device_runs_mma() { return attribute(cudaDevAttrComputeCapabilityMajor) >= 8; }

MmaDecodeGrid prepare_mma_decode(int head_dim) {
  const Kernel kernel = split_kernel_for(head_dim);
  const std::size_t bytes = shared_bytes_for(head_dim);
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)),
             "the decode kernel needs more shared memory than this GPU has");
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared),
             "giving the decode kernel's multiprocessors to shared memory");
  // Asked for, it is loaded: that must not happen while launches are being captured.
  cudaFuncAttributes loaded{};
  cuda_check(cudaFuncGetAttributes(&loaded, merge_kernel_for(head_dim)), "loading a kernel");
  int blocks = 0;
  cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, bytes),
             "counting blocks of the decode kernel");
  return {blocks * attribute(cudaDevAttrMultiProcessorCount)};
}

void launch_mma_decode(const MmaDecode& work, std::int64_t most_rows, const MmaDecodeGrid& grid,
                       cudaStream_t stream) {
  const HeadShape& shape = work.shape;
  expects(decodes_by_mma(shape), "the decode kernel knows head_dim 64 and 128, and eight readers");
  if (most_rows == 0) return;
  launch_early({.grid = dim3(static_cast<unsigned>(grid.blocks)),
                .threads = kThreads,
                .shared_bytes = shared_bytes_for(shape.head_dim),
                .stream = stream},
               split_kernel_for(shape.head_dim), "attending splits on matrix units", work);
  launch_early({.grid = dim3(static_cast<unsigned>(most_rows * shape.query_heads)),
                .threads = kMergeThreads,
                .stream = stream},
               merge_kernel_for(shape.head_dim), "merging splits of decode rows", work);
}

}  // namespace longspan

// FlashAttention-2's shape (arXiv 2307.08691) over segments of keys in pages: a block of eight
// warps has a tile of 128 query rows of one head, 16 to a warp, and walks over the keys they see in
// steps of 64 columns, half a block of the plan. While one step is computed the next one is copied:
//
//   copies   Q K0 V0 | K1 V1 | K2 V2 | ...       two stages, used in turn
//   warps            | S0 P0 O | S1 P1 O | ...   S = Q K, P = its weights, O += P V
//
// A row's bits depend on its own columns only: steps begin at column 0 of each segment, one that no
// row of the tile sees is left out, and to others it adds exact zeros. Between segments each row's
// sum l is gathered in one lane, as it is when it is stored: so carrying the state from launch to
// launch changes nothing.
//
// In shared memory the 16-byte pieces of a row are exchanged by XOR with the row's number mod 8, so
// that neither eight rows nor eight pieces meet in one bank. m is kept as the state holds it,
// scaled, in natural-log units; weights are 2^(s scale log2(e) - m log2(e)).
#include <cmath>

#include "attention/cuda/mma.cuh"
#include "attention/cuda/prefill_mma.h"
#include "attention/cuda/softmax.cuh"
#include "attention/cuda/warp.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kWarpRows = 16;
constexpr int kWarps = kTileRows / kWarpRows;
constexpr int kThreads = kWarps * kWarp;
constexpr int kStepColumns = 64;
constexpr int kStages = 2;
constexpr int kPieceBytes = 16;
constexpr int kPieceValues = kPieceBytes / 2;

/// A tile of rows of kHeadDim values in shared memory, in bytes from where it begins.
template <int kHeadDim>
struct RowTile {
  static constexpr int kPieces = kHeadDim / kPieceValues;
  static constexpr int bytes(int rows) { return rows * kHeadDim * 2; }
  static constexpr std::uint32_t piece(int row, int piece) {
    return static_cast<std::uint32_t>(row * kHeadDim * 2 + (piece ^ row % 8) * kPieceBytes);
  }
};

template <int kHeadDim>
struct Layout {
  static constexpr int kQueries = 0;
  static constexpr int kKeys = RowTile<kHeadDim>::bytes(kTileRows);
  static constexpr int kStepBytes = RowTile<kHeadDim>::bytes(kStepColumns);
  static constexpr int kBytes = kKeys + kStages * 2 * kStepBytes;

  static constexpr int keys(int stage) { return kKeys + stage * 2 * kStepBytes; }
  static constexpr int values(int stage) { return keys(stage) + kStepBytes; }
};

/// The steps that some row of a tile sees, the last of each segment first.
class StepWalk {
 public:
  __device__ StepWalk(const QueryTile& tile, const TileSegment* segments)
      : blocks_(walk_over(tile, segments)),
        first_row_(tile.in_run),
        last_row_(tile.in_run + tile.rows - 1) {}

  __device__ bool next() {
    do {
      if (half_ == 0) {
        if (!blocks_.next()) return false;
        half_ = kBlockColumns / kStepColumns;
      }
      --half_;
    } while (!is_seen());
    begins_segment_ = blocks_.segment_index() != segment_;
    segment_ = blocks_.segment_index();
    return true;
  }
  __device__ const TileSegment& segment() const { return blocks_.segment(); }
  /// The first of the step.
  __device__ int column() const { return blocks_.block() * kBlockColumns + half_ * kStepColumns; }
  __device__ bool begins_segment() const { return begins_segment_; }

 private:
  __device__ bool is_seen() const {
    return column() < segment().end.of(last_row_) &&
           column() + kStepColumns > segment().begin.of(first_row_);
  }

  BlockWalk blocks_;
  int first_row_, last_row_;
  int half_ = 0;
  int segment_ = -1;
  bool begins_segment_ = false;
};

__device__ std::uint32_t pack(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

/// 16 bytes that others read too. Those behind the first `bytes` are zeros.
__device__ void copy_piece(std::uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

/// What the block's threads copy together.
template <int kHeadDim>
class Copier {
 public:
  __device__ Copier(const PrefillMma& work, std::uint32_t memory, int head)
      : work_(work),
        memory_(memory),
        head_(head),
        kv_head_((head + work.shape.lead) / work.shape.group()),
        row_(static_cast<int>(threadIdx.x) / kPieces),
        piece_(static_cast<int>(threadIdx.x) % kPieces) {}

  __device__ void copy_queries(const QueryTile& tile) const {
    const auto* const q = static_cast<const __nv_bfloat16*>(work_.q);
#pragma unroll
    for (int i = 0; i < kTileRows / kRowsAtOnce; ++i) {
      const int row = i * kRowsAtOnce + row_;
      const bool exists = row < tile.rows;
      const std::int64_t at = (tile.row + (exists ? row : 0)) * work_.shape.query_heads + head_;
      copy_piece(memory_ + Layout<kHeadDim>::kQueries + Tile::piece(row, piece_),
                 q + at * kHeadDim + piece_ * kPieceValues, exists ? kPieceBytes : 0);
    }
  }

  /// Columns behind the last become zeros: what lies there in memory may be NaN, and a weight of 0
  /// times NaN is NaN.
  __device__ void copy_step(const TileSegment& segment, int first, int stage) const {
    const KeyMemory& view = work_.views[segment.view];
    const auto* const k = static_cast<const __nv_bfloat16*>(view.k);
    const auto* const v = static_cast<const __nv_bfloat16*>(view.v);
#pragma unroll
    for (int i = 0; i < kStepColumns / kRowsAtOnce; ++i) {
      const int row = i * kRowsAtOnce + row_;
      const bool exists = first + row < segment.len;
      const int column = exists ? first + row : segment.len - 1;
      const int page = segment.page(column);
      const std::int64_t slot = segment.table ? segment.table[page] : page;
      const std::int64_t at = kv_head_ * view.head_stride + slot * view.page_stride +
                              std::int64_t{segment.in_page(column)} * kHeadDim +
                              piece_ * kPieceValues;
      const std::uint32_t to = memory_ + Tile::piece(row, piece_);
      copy_piece(to + Layout<kHeadDim>::keys(stage), k + at, exists ? kPieceBytes : 0);
      copy_piece(to + Layout<kHeadDim>::values(stage), v + at, exists ? kPieceBytes : 0);
    }
  }

 private:
  using Tile = RowTile<kHeadDim>;
  static constexpr int kPieces = Tile::kPieces;
  static constexpr int kRowsAtOnce = kThreads / kPieces;

  const PrefillMma& work_;
  std::uint32_t memory_;
  int head_, kv_head_;
  int row_, piece_;  // this thread's, of the first rows
};

/// A warp's 16 rows: lane l has rows l div 4 and 8 further on, "halves" of them below.
template <int kHeadDim>
class WarpRows {
 public:
  __device__ WarpRows(const PrefillMma& work, const QueryTile& tile, int head,
                      std::uint32_t queries)
      : work_(work),
        tile_(tile),
        head_(head),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        queries_(queries),
        first_(static_cast<int>(threadIdx.x) / kWarp * kWarpRows) {
    load_state();
  }

  __device__ void fold(const StepWalk& walk, std::uint32_t keys, std::uint32_t values) {
    if (walk.begins_segment()) gather_sums();
    float s[kStepColumns / 8][4] = {};
    multiply_keys(keys, s);
    mask(walk, s);
    soften(s);
    add_values(values, s);
  }

  __device__ void store_state() {
    gather_sums();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(half);
      if (row >= tile_.rows) continue;
      const std::int64_t at = row_head(row);
      float* const acc = work_.state.acc + at * kHeadDim + 2 * (lane_ % 4);  // at any float
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        acc[8 * i] = o_[i][2 * half];
        acc[8 * i + 1] = o_[i][2 * half + 1];
      }
      if (lane_ % 4 == 0) {
        work_.state.m[at] = m_[half];
        work_.state.l[at] = l_[half];
      }
    }
  }

 private:
  using Tile = RowTile<kHeadDim>;
  static constexpr int kDepths = kHeadDim / 16;
  static constexpr int kTiles = kStepColumns / 8;

  __device__ int row_of(int half) const { return first_ + lane_ / 4 + 8 * half; }
  __device__ std::int64_t row_head(int row) const {
    return (tile_.row + row) * work_.shape.query_heads + head_;
  }

  __device__ void load_state() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(half);
      const bool exists = row < tile_.rows;
      const std::int64_t at = row_head(exists ? row : 0);
      m_[half] = exists ? work_.state.m[at] : -INFINITY;
      l_[half] = exists && lane_ % 4 == 0 ? work_.state.l[at] : 0.0f;
      const bool is_fresh = m_[half] == -INFINITY;  // then acc is 0, and need not be read
      const float* const acc = work_.state.acc + at * kHeadDim + 2 * (lane_ % 4);
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        o_[i][2 * half] = is_fresh ? 0.0f : acc[8 * i];
        o_[i][2 * half + 1] = is_fresh ? 0.0f : acc[8 * i + 1];
      }
    }
  }

  /// Each row's sum in the first of the four lanes that share the row.
  __device__ void gather_sums() {
#pragma unroll
    for (float& l : l_) {
      const float sum = lanes_sum<4>(l);
      l = lane_ % 4 == 0 ? sum : 0.0f;
    }
  }

  __device__ void multiply_keys(std::uint32_t keys, float (&s)[kTiles][4]) const {
    const int row = lane_ % 8 + lane_ / 16 * 8;
#pragma unroll
    for (int step = 0; step < kDepths; ++step) {
      std::uint32_t q[4];  // again each time: registers are for O
      load_matrices(queries_ + Tile::piece(first_ + lane_ % 16, 2 * step + lane_ / 16), q);
#pragma unroll
      for (int i = 0; i < kTiles; i += 2) {
        std::uint32_t k[4];
        load_matrices(keys + Tile::piece(8 * i + row, 2 * step + lane_ / 8 % 2), k);
        multiply(s[i], q, k[0], k[1]);
        multiply(s[i + 1], q, k[2], k[3]);
      }
    }
  }

  /// Columns that a row does not see do not count for it.
  __device__ void mask(const StepWalk& walk, float (&s)[kTiles][4]) const {
    const TileSegment& segment = walk.segment();
    const int first = tile_.in_run + first_, column = walk.column();
    const SeenByAll seen(segment, first, first + kWarpRows - 1);
    if (seen.begin <= column && column + kStepColumns <= seen.end) return;
    const int here = column + 2 * (lane_ % 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = tile_.in_run + row_of(half);
      const int begin = segment.begin.of(row) - here, end = segment.end.of(row) - here;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int at = 8 * i + n;
          float& score = s[i][2 * half + n];
          score = at >= begin && at < end ? score : -INFINITY;
        }
      }
    }
  }

  /// Scores become weights; m, l and O take them in.
  __device__ void soften(float (&s)[kTiles][4]) {
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = -INFINITY;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        top = fmaxf(top, fmaxf(s[i][2 * half], s[i][2 * half + 1]));
      }
      const float m = fmaxf(m_[half], lanes_max<4>(top) * work_.scale);
      const float base = base_of(m), shift = -base * kLog2e;
      factor[half] = exp2_fast((m_[half] - base) * kLog2e);  // exactly 1 where nothing is higher
      m_[half] = m;
      float sum[2] = {};
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          float& weight = s[i][2 * half + n];
          weight = exp2_fast(fmaf(weight, work_.scale * kLog2e, shift));
          sum[n] += weight;
        }
      }
      l_[half] = fmaf(l_[half], factor[half], sum[0] + sum[1]);
    }
    // Late steps seldom raise a maximum: what is multiplied by one need not be.
    if (!__any_sync(0xffffffffu, factor[0] != 1.0f || factor[1] != 1.0f)) return;
#pragma unroll
    for (auto& o : o_) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o[i] *= factor[i / 2];
    }
  }

  __device__ void add_values(std::uint32_t values, const float (&s)[kTiles][4]) {
#pragma unroll
    for (int step = 0; step < kStepColumns / 16; ++step) {
      const auto& low = s[2 * step];
      const auto& high = s[2 * step + 1];
      const std::uint32_t weights[4] = {pack(low[0], low[1]), pack(low[2], low[3]),
                                        pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; i += 2) {
        std::uint32_t v[4];
        load_columns(values + Tile::piece(16 * step + lane_ % 16, i + lane_ / 16), v);
        multiply(o_[i], weights, v[0], v[1]);
        multiply(o_[i + 1], weights, v[2], v[3]);
      }
    }
  }

  const PrefillMma& work_;
  const QueryTile& tile_;
  int head_;
  int lane_;
  std::uint32_t queries_;
  int first_;  // of the tile: this warp's first row
  float m_[2], l_[2];
  float o_[kHeadDim / 8][4];
};

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_kernel(const __grid_constant__ PrefillMma work) {
  extern __shared__ __align__(128) std::byte shared[];
  const auto memory = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const TileOrder::Tile place = work.order.at(static_cast<int>(blockIdx.x));
  const QueryTile tile = work.query_tiles[place.query_tile];
  const Copier<kHeadDim> copier(work, memory, place.head);
  StepWalk copied(tile, work.segments), folded = copied;

  copier.copy_queries(tile);
  copied.next();  // every tile has a step
  copier.copy_step(copied.segment(), copied.column(), 0);
  end_copy_group();
  wait_for_copies<0>();
  __syncthreads();
  WarpRows<kHeadDim> rows(work, tile, place.head, memory + Layout<kHeadDim>::kQueries);
  for (int stage = 0; folded.next(); stage ^= 1) {
    const bool has_more = copied.next();
    if (has_more) copier.copy_step(copied.segment(), copied.column(), stage ^ 1);
    end_copy_group();
    rows.fold(folded, memory + Layout<kHeadDim>::keys(stage),
              memory + Layout<kHeadDim>::values(stage));
    wait_for_copies<0>();
    __syncthreads();  // the other stage has come for all, and nobody reads this one any more
  }
  rows.store_state();
}

template <int kHeadDim>
void prepare() {
  cuda_check(
      cudaFuncSetAttribute(prefill_kernel<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           Layout<kHeadDim>::kBytes),
      "the prefill kernel needs more shared memory than this GPU has");
}

template <int kHeadDim>
void launch(const PrefillMma& work, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(work.order.count());
  prefill_kernel<kHeadDim><<<blocks, kThreads, Layout<kHeadDim>::kBytes, stream>>>(work);
  cuda_check(cudaGetLastError(), "attending on matrix units");
}

}  // namespace

void prepare_prefill_mma(int head_dim) { head_dim == 64 ? prepare<64>() : prepare<128>(); }

void launch_prefill_mma(const PrefillMma& work, cudaStream_t stream) {
  expects(head_dim_runs_tiles(work.shape.head_dim), "the prefill kernel knows head_dim 64 and 128");
  if (work.order.count() == 0) return;
  work.shape.head_dim == 64 ? launch<64>(work, stream) : launch<128>(work, stream);
}

}  // namespace longspan

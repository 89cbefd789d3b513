// FlashAttention-3's shape (arXiv 2407.08608) over segments of keys in pages: a block is one
// producer warp, which copies tiles into shared memory, and two warpgroups, each of which computes
// 64 rows of a tile of 128.
//
//   producer     Q | K0 | K1 V0 | K2 V1 | ... | Vn | Q' | K0' ...        stages, reused in a ring
//   warpgroup    S0 = Q K0 ; softmax ; { S = Q K  ||  O += P V before ; softmax ; P } ... ; O += P
//   V
//
// Both warpgroups walk over all blocks of the tile, those too that none of their rows sees, so that
// turns and stages stay in step; such a block adds exact zeros.
//
// A row's bits depend on its own columns only: blocks begin at column 0 of each segment, and sums
// have one order. Between segments each row's sum l is gathered in one lane, as it is when it is
// stored: so carrying the state from launch to launch changes nothing.
//
// m is kept as the state holds it, scaled, in natural-log units; weights are 2^(s scale log2(e) -
// m log2(e)).
#include <cmath>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/tma.cuh"
#include "attention/cuda/warp.cuh"
#include "attention/cuda/wgmma.cuh"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kThreads = 3 * kWarpgroup;
constexpr int kConsumerWarps = 2 * kWarpgroup / kWarp;
constexpr int kGroupRows = 64;  // of a warpgroup
constexpr int kScores = kGroupRows * kBlockColumns / kWarpgroup;
constexpr int kQueryStages = 2;
constexpr float kLog2e = 1.4426950408889634f;
/// What a multiprocessor's 64K registers give each thread when roles share them out.
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;

constexpr int stages(int head_dim) { return head_dim == 64 ? 4 : 2; }

/// What the consumers need to know of a tile. head < 0: there are no more.
struct TileNote {
  QueryTile rows;
  int head;
};

template <int kHeadDim>
struct Shared {
  static constexpr int kStages = stages(kHeadDim);
  static constexpr int kTileBytes = matrix_tile_bytes(kBlockColumns, kHeadDim);
  static_assert(kTileRows == kBlockColumns && kTileBytes % kSwizzleBytes == 0);

  std::byte q[kQueryStages][kTileBytes];  // (kTileRows, kHeadDim)
  std::byte k[kStages][kTileBytes];       // (kBlockColumns, kHeadDim)
  std::byte v[kStages][kTileBytes];
  Mbarrier q_full[kQueryStages], q_empty[kQueryStages];
  Mbarrier k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
  Mbarrier tail;  // a block of V that the producer still has to clear
  TileNote notes[kQueryStages];
};

template <int kHeadDim>
__device__ Shared<kHeadDim>& find_shared() {
  extern __shared__ __align__(kSwizzleBytes) std::byte memory[];
  return *reinterpret_cast<Shared<kHeadDim>*>(memory);
}

template <int kHeadDim>
__device__ void init_barriers(Shared<kHeadDim>& shared) {
  for (int i = 0; i < kQueryStages; ++i) {
    shared.q_full[i].init(1);
    shared.q_empty[i].init(kConsumerWarps);
  }
  for (int i = 0; i < Shared<kHeadDim>::kStages; ++i) {
    shared.k_full[i].init(1);
    shared.v_full[i].init(1);
    shared.k_empty[i].init(kConsumerWarps);
    shared.v_empty[i].init(kConsumerWarps);
  }
  shared.tail.init(1);
  fence_mbarrier_init();
}

// ---- The producer: one warp. Its lane 0 copies, all of it clears.

template <int kHeadDim>
class Producer {
 public:
  __device__ Producer(const PrefillSm90& work, Shared<kHeadDim>& shared)
      : work_(work), shared_(shared), lane_(static_cast<int>(threadIdx.x) % kWarp) {}

  template <bool kFetches>
  __device__ void run() {
    int index = static_cast<int>(blockIdx.x);
    while (index < work_.order.count()) {
      const int next = kFetches ? fetch() : index + static_cast<int>(gridDim.x);
      copy_tile(work_.order.at(index));
      index = kFetches ? __shfl_sync(0xffffffffu, next, 0) : next;
    }
    send_note({{}, -1}, 0);
  }

 private:
  using Memory = Shared<kHeadDim>;
  using Stage = RingPlace<Memory::kStages>;

  /// Of lane 0. Asked for before it is needed: the answer takes a microsecond.
  __device__ int fetch() {
    if (lane_ != 0) return 0;
    const auto dealt = atomicAdd(work_.next_tile, static_cast<unsigned long long>(1));
    return static_cast<int>(gridDim.x + dealt);
  }

  __device__ void copy_tile(const TileOrder::Tile& tile) {
    const QueryTile rows = work_.query_tiles[tile.query_tile];
    const int kv_head = (tile.head + work_.shape.lead) / work_.shape.group();
    const int place = send_note({rows, tile.head}, Memory::kTileBytes);
    if (lane_ == 0) {
#pragma unroll
      for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
        copy_box(&work_.q, slab * kSlabColumns, tile.head, static_cast<int>(rows.row),
                 shared_address(shared_.q[place]) + slab * slab_bytes(kTileRows),
                 shared_.q_full[place], kPassThroughL2);
      }
    }
    // In the order in which consumers wait: the next block's keys before this one's values.
    int segment = -1, block = 0;
    BlockWalk walk = walk_over(rows, work_.segments);
    for (bool more = true; more;) {
      more = walk.next();
      if (more) copy_keys(walk.segment(), walk.block(), kv_head);
      if (segment >= 0) copy_values(work_.segments[segment], block, kv_head);
      segment = walk.segment_index();
      block = walk.block();
    }
  }

  /// Together: a lane that fell two phases behind would take the next one for the one it waits for.
  __device__ static void wait(const Mbarrier& barrier, std::uint32_t parity) {
    __syncwarp();
    barrier.wait(parity);
  }

  /// Where Q goes; `bytes` of it will follow.
  __device__ int send_note(const TileNote& note, std::uint32_t bytes) {
    const int stage = q_.stage;
    wait(shared_.q_empty[stage], q_.parity ^ 1);
    if (lane_ == 0) {
      shared_.notes[stage] = note;
      shared_.q_full[stage].arrive_expecting(bytes);
    }
    q_.advance();
    return stage;
  }

  /// A block, and what memory says of it: read before a stage is free for it, not after.
  struct Source {
    const TileSegment& segment;
    int block, view, boxes, box_bytes, first_slot;

    __device__ Source(const TileSegment& segment, int block)
        : segment(segment),
          block(block),
          view(segment.view),
          boxes(segment.boxes(block)),
          box_bytes(kSlabRowBytes << segment.box_shift),
          first_slot(slot(0)) {}
    __device__ int slot(int box) const {
      const int page = segment.page(segment.box_column(block, box));
      return segment.table ? segment.table[page] : page;
    }
  };

  __device__ void copy_keys(const TileSegment& segment, int block, int kv_head) {
    const Source source(segment, block);
    wait(shared_.k_empty[k_.stage], k_.parity ^ 1);
    copy_block(source, work_.k[source.view], kv_head, shared_.k[k_.stage],
               shared_.k_full[k_.stage]);
    k_.advance();
  }

  __device__ void copy_values(const TileSegment& segment, int block, int kv_head) {
    const Source source(segment, block);
    const int columns = segment.len - block * kBlockColumns;
    const bool is_whole = columns >= kBlockColumns;
    wait(shared_.v_empty[v_.stage], v_.parity ^ 1);
    Mbarrier& full = shared_.v_full[v_.stage];
    std::byte* const to = shared_.v[v_.stage];
    copy_block(source, work_.v[source.view], kv_head, to, is_whole ? full : shared_.tail);
    if (!is_whole) {
      wait(shared_.tail, tail_parity_);
      tail_parity_ ^= 1;
      clear_rows(to, columns);
      fence_shared_for_async();
      __syncwarp();
      if (lane_ == 0) full.arrive();
    }
    v_.advance();
  }

  /// Rows of V behind the last column may hold NaN, and a weight of 0 times NaN is NaN.
  __device__ void clear_rows(std::byte* tile, int first) {
    constexpr int kPieces = kSlabRowBytes / sizeof(uint4);
#pragma unroll
    for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
      auto* const pieces = reinterpret_cast<uint4*>(tile + slab * slab_bytes(kBlockColumns));
      for (int i = first * kPieces + lane_; i < kBlockColumns * kPieces; i += kWarp) {
        pieces[i] = uint4{0, 0, 0, 0};
      }
    }
  }

  __device__ void copy_block(const Source& source, const CUtensorMap& map, int kv_head,
                             std::byte* tile, Mbarrier& full) {
    if (lane_ != 0) return;
    full.arrive_expecting(source.boxes * source.box_bytes * (kHeadDim / kSlabColumns));
#pragma unroll 1
    for (int box = 0; box < source.boxes; ++box) {
      const int column = source.segment.box_column(source.block, box);
      const int slot = box == 0 ? source.first_slot : source.slot(box);
#pragma unroll
      for (int slab = 0; slab < kHeadDim / kSlabColumns; ++slab) {
        copy_box(&map, slab * kSlabColumns, source.segment.in_page(column), kv_head, slot,
                 shared_address(tile) + slab * slab_bytes(kBlockColumns) + box * source.box_bytes,
                 full, kKeepInL2);
      }
    }
  }

  const PrefillSm90& work_;
  Memory& shared_;
  int lane_;
  RingPlace<kQueryStages> q_;
  Stage k_, v_;
  std::uint32_t tail_parity_ = 0;
};

// ---- A consumer: a warpgroup.

/// A value that is the same in all lanes, so that the compiler knows it to be: what depends on it,
/// operands of the matrix unit above all, then lives in uniform registers.
__device__ int same_in_warp(int value) { return __shfl_sync(0xffffffffu, value, 0); }

constexpr int kTurnOfFirst = 1, kTurnOfSecond = 2;  // named barriers

__device__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// `first` in the lower half.
__device__ std::uint32_t pack(float first, float second) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

template <int kHeadDim, bool kTurns, bool kOverlap>
class Consumer {
 public:
  __device__ Consumer(const PrefillSm90& work, Shared<kHeadDim>& shared, int group)
      : work_(work),
        shared_(shared),
        group_(group),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        row_(group * kGroupRows +
             accumulator_row(static_cast<int>(threadIdx.x) / kWarp % 4, lane_, 0)) {}

  __device__ void run() {
    if (kTurns && group_ == 1) named_arrive<kTurnOfFirst>();
    for (;;) {
      shared_.q_full[q_.stage].wait(q_.parity);
      const TileNote note = shared_.notes[q_.stage];
      if (note.head < 0) return;
      load_state(note);
      BlockWalk walk = walk_over(note.rows, work_.segments);
      if constexpr (kOverlap) {
        fold_overlapped(walk, note.rows.in_run);
      } else {
        fold_in_order(walk, note.rows.in_run);
      }
      store_state(note);
    }
  }

 private:
  using Memory = Shared<kHeadDim>;
  using Stage = RingPlace<Memory::kStages>;
  static constexpr int kOutputs = kGroupRows * kHeadDim / kWarpgroup;

  // Both walks do the same arithmetic in the same order.

  __device__ void fold_in_order(BlockWalk& walk, int in_run) {
    while (walk.next()) {
      const ScoreOperands operands = score_operands();
      shared_.k_full[k_.stage].wait(k_.parity);
      take_turn();
      begin_scores(operands);
      wgmma_wait<0>();
      pin(s_);
      pass_turn();
      release(shared_.k_empty[k_.stage]);
      k_.advance();
      soften(walk, in_run);
      take_weights();
      add_values();
      end_values();
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
  }

  __device__ void fold_overlapped(BlockWalk& walk, int in_run) {
    walk.next();  // every tile has a block; peeled, since a flag would serialise the products
    shared_.k_full[k_.stage].wait(k_.parity);
    begin_scores(score_operands());
    wgmma_wait<0>();
    pin(s_);
    release(shared_.k_empty[k_.stage]);
    k_.advance();
    soften(walk, in_run);
    take_weights();
    while (walk.next()) {
      const ScoreOperands operands = score_operands();
      shared_.k_full[k_.stage].wait(k_.parity);
      take_turn();
      begin_scores(operands);
      add_values();
      pass_turn();
      wgmma_wait<1>();
      pin(s_);
      release(shared_.k_empty[k_.stage]);
      k_.advance();
      soften(walk, in_run);
      end_values();
      take_weights();
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
    add_values();
    end_values();
  }

  /// Descriptors of this group's rows of Q, and of the block of K.
  struct ScoreOperands {
    std::uint64_t q, k;
  };
  __device__ ScoreOperands score_operands() const {
    return {row_operand(shared_address(shared_.q[same_in_warp(q_.stage)])) +
                (group_ * slab_bytes(kGroupRows) >> 4),
            row_operand(shared_address(shared_.k[same_in_warp(k_.stage)]))};
  }

  __device__ void begin_scores(const ScoreOperands& operands) {
    pin(s_);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / kMatrixDepth; ++step) {
      wgmma_rows(s_, advanced(operands.q, row_operand_step(kTileRows, step)),
                 advanced(operands.k, row_operand_step(kBlockColumns, step)), step > 0);
    }
    wgmma_commit();
  }

  __device__ void add_values() {
    shared_.v_full[v_.stage].wait(v_.parity);
    const std::uint64_t v = column_operand(shared_address(shared_.v[v_.stage]), kBlockColumns);
    pin(o_);
    pin(p_);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kBlockColumns / kMatrixDepth; ++step) {
      wgmma_columns(o_, p_ + 4 * step, advanced(v, column_operand_step(step)));
    }
    wgmma_commit();
  }

  __device__ void end_values() {
    wgmma_wait<0>();
    pin(o_);
    pin(p_);
    release(shared_.v_empty[v_.stage]);
    v_.advance();
  }

  /// A warp's own products are done; others of its warpgroup may still read.
  __device__ void release(Mbarrier& empty) {
    if (lane_ == 0) empty.arrive();
  }

  __device__ void take_turn() {
    if constexpr (kTurns) {
      if (group_ == 0) {
        named_sync<kTurnOfFirst>();
      } else {
        named_sync<kTurnOfSecond>();
      }
    }
  }
  __device__ void pass_turn() {
    if constexpr (kTurns) {
      if (group_ == 0) {
        named_arrive<kTurnOfSecond>();
      } else {
        named_arrive<kTurnOfFirst>();
      }
    }
  }

  /// Scores become weights; m and l take them in; factor_ is what O must be scaled by.
  __device__ void soften(const BlockWalk& walk, int in_run) {
    if (walk.begins_segment()) {
      const int first = in_run + group_ * kGroupRows;
      const SeenByAll seen(walk.segment(), first, first + kGroupRows - 1);
      seen_begin_ = seen.begin, seen_end_ = seen.end;
      gather_sums();
    }
    const int column = walk.block() * kBlockColumns;
    if (column < seen_begin_ || column + kBlockColumns > seen_end_) {
      mask(walk.segment(), column, in_run);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // Two chains of each: one would be waited for at every step.
      float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
        top[0] = fmaxf(top[0], s_[i + 2 * half]);
        top[1] = fmaxf(top[1], s_[i + 2 * half + 1]);
      }
      const float m = fmaxf(m_[half], lanes_max<4>(fmaxf(top[0], top[1])) * work_.scale);
      // Nothing seen yet and nothing to see here: (-inf) - (-inf) must not be evaluated.
      const float base = m == -INFINITY ? 0.0f : m;
      factor_[half] = exp2_fast((m_[half] - base) * kLog2e);
      m_[half] = m;
      const float shift = -base * kLog2e, scale = work_.scale * kLog2e;
      float sum[2] = {0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          float& score = s_[i + 2 * half + n];
          score = exp2_fast(fmaf(score, scale, shift));
          sum[n] += score;
        }
      }
      l_[half] = fmaf(l_[half], factor_[half], sum[0] + sum[1]);
    }
  }

  /// Columns that a row does not see do not count for it.
  __device__ void mask(const TileSegment& segment, int column, int in_run) {
    const int here = column + accumulator_column(lane_, 0);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = in_run + row_ + 8 * half;
      const int begin = segment.begin.of(row) - here, end = segment.end.of(row) - here;
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int at = 8 * (i / 4) + n;
          float& score = s_[i + 2 * half + n];
          score = at >= begin && at < end ? score : -INFINITY;
        }
      }
    }
  }

  /// The weights become a factor; nothing that reads the last ones, or adds to O, is on its way.
  __device__ void take_weights() {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) p_[i] = pack(s_[2 * i], s_[2 * i + 1]);
    // Late blocks seldom raise a maximum: what is multiplied by one need not be.
    if (__any_sync(0xffffffffu, factor_[0] != 1.0f || factor_[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) o_[i] *= factor_[i / 2 % 2];
    }
  }

  /// Each row's sum in the first of the four lanes that share the row.
  __device__ void gather_sums() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = lanes_sum<4>(l_[half]);
      l_[half] = lane_ % 4 == 0 ? sum : 0.0f;
    }
  }

  __device__ std::int64_t row_head(const TileNote& note, int half) const {
    return (note.rows.row + row_ + 8 * half) * work_.shape.query_heads + note.head;
  }

  __device__ void load_state(const TileNote& note) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t at = row_head(note, half);
      const bool exists = row_ + 8 * half < note.rows.rows;
      m_[half] = exists ? work_.state.m[at] : -INFINITY;
      l_[half] = exists && lane_ % 4 == 0 ? work_.state.l[at] : 0.0f;
      const bool is_fresh = m_[half] == -INFINITY;  // then acc is 0, and need not be read
      const float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        o_[i + 2 * half] = is_fresh ? 0.0f : acc[2 * i];
        o_[i + 2 * half + 1] = is_fresh ? 0.0f : acc[2 * i + 1];
      }
    }
  }

  __device__ void store_state(const TileNote& note) {
    gather_sums();
    // Callers may cut their memory at any float.
    const bool in_pairs = reinterpret_cast<std::uintptr_t>(work_.state.acc) % sizeof(float2) == 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row_ + 8 * half >= note.rows.rows) continue;
      const std::int64_t at = row_head(note, half);
      float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        const float first = o_[i + 2 * half], second = o_[i + 2 * half + 1];
        if (in_pairs) {
          *reinterpret_cast<float2*>(acc + 2 * i) = {first, second};
        } else {
          acc[2 * i] = first;
          acc[2 * i + 1] = second;
        }
      }
      if (lane_ % 4 == 0) {
        work_.state.m[at] = m_[half];
        work_.state.l[at] = l_[half];
      }
    }
  }

  const PrefillSm90& work_;
  Memory& shared_;
  int group_;
  int lane_;
  int row_;  // of the tile: the first of this thread's two, the other is 8 further on
  RingPlace<kQueryStages> q_;
  Stage k_, v_;
  int seen_begin_ = 0, seen_end_ = 0;
  float m_[2], l_[2], factor_[2];
  float s_[kScores];  // scores, then weights
  std::uint32_t p_[kScores / 2];
  float o_[kOutputs];
};

template <int kHeadDim, bool kTurns, bool kOverlap, bool kFetches>
__global__ void __launch_bounds__(kThreads, 1)
    prefill_kernel(const __grid_constant__ PrefillSm90 work) {
  Shared<kHeadDim>& shared = find_shared<kHeadDim>();
  if (threadIdx.x == 0) init_barriers(shared);
  __syncthreads();
  const int group = same_in_warp(static_cast<int>(threadIdx.x) / kWarpgroup);
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    if (threadIdx.x < kWarp) Producer<kHeadDim>(work, shared).template run<kFetches>();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    Consumer<kHeadDim, kTurns, kOverlap>(work, shared, group - 1).run();
  }
}

using Kernel = void (*)(PrefillSm90);

template <int kHeadDim>
Kernel kernel_of(Sm90Rung rung) {
  switch (rung) {
    case Sm90Rung::kInOrder:
      return prefill_kernel<kHeadDim, false, false, false>;
    case Sm90Rung::kTurns:
      return prefill_kernel<kHeadDim, true, false, false>;
    case Sm90Rung::kOverlap:
      return prefill_kernel<kHeadDim, true, true, false>;
    case Sm90Rung::kFetching:
      return prefill_kernel<kHeadDim, true, true, true>;
  }
  return nullptr;
}

Kernel kernel_for(int head_dim, Sm90Rung rung) {
  return head_dim == 64 ? kernel_of<64>(rung) : kernel_of<128>(rung);
}
std::size_t shared_bytes_for(int head_dim) {
  return head_dim == 64 ? sizeof(Shared<64>) : sizeof(Shared<128>);
}

}  // namespace

bool device_runs_sm90() {
  int device = 0, major = 0, minor = 0;
  cuda_check(cudaGetDevice(&device), "the current GPU");
  cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "a GPU");
  cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "a GPU");
  return major == 9 && minor == 0;
}

void prepare_prefill_sm90(int head_dim) {
  for (const Sm90Rung rung :
       {Sm90Rung::kInOrder, Sm90Rung::kTurns, Sm90Rung::kOverlap, Sm90Rung::kFetching}) {
    cuda_check(cudaFuncSetAttribute(kernel_for(head_dim, rung),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes_for(head_dim))),
               "the prefill kernel needs more shared memory than this GPU has");
  }
}

void launch_prefill_sm90(const PrefillSm90& work, Sm90Rung rung, int blocks, cudaStream_t stream) {
  const int head_dim = work.shape.head_dim;
  expects(head_dim_runs_sm90(head_dim), "the prefill kernel knows head_dim 64 and 128");
  if (work.order.count() == 0) return;
  const int grid = std::min(blocks, work.order.count());
  kernel_for(head_dim, rung)<<<grid, kThreads, shared_bytes_for(head_dim), stream>>>(work);
  cuda_check(cudaGetLastError(), "attending on matrix units");
}

}  // namespace longspan

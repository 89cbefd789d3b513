// A consumer of Hopper's prefill kernel: a warpgroup, which folds blocks of keys and values into
// the state of 64 rows.
#pragma once

#include <cmath>
#include <cstdint>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/mbarrier.cuh"
#include "attention/cuda/prefill_sm90.h"
#include "attention/cuda/prefill_sm90_softmax.cuh"
#include "attention/cuda/prefill_sm90_stages.cuh"
#include "attention/cuda/warp.cuh"
#include "attention/cuda/wgmma.cuh"

namespace longspan::sm90 {

/// A value that is the same in all lanes, so that the compiler knows it to be: what depends on it,
/// operands of the matrix unit above all, then lives in uniform registers.
__device__ inline int same_in_warp(int value) { return __shfl_sync(0xffffffffu, value, 0); }
/// A value that the compiler keeps instead of computing it anew.
__device__ inline std::uint32_t kept(std::uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}
/// The same of a descriptor, whose upper half is a constant.
__device__ inline std::uint64_t uniform(std::uint64_t descriptor) {
  const auto lower = static_cast<std::uint32_t>(same_in_warp(static_cast<int>(descriptor)));
  return descriptor >> 32 << 32 | lower;
}

/// Descriptors of this group's rows of Q, of a block's keys, and of the values whose weights are
/// known by then.
struct Operands {
  std::uint64_t q, k, v;
  bool k_is_there, v_is_there;  // already
};

inline constexpr int kTurnOfFirst = 1, kTurnOfSecond = 2;  // named barriers

template <int kHeadDim, bool kTurns, bool kOverlap>
class Consumer {
 public:
  __device__ Consumer(const PrefillSm90& work, Shared<kHeadDim>& shared, int group)
      : work_(work),
        shared_(shared),
        here_(kept(shared_address(&shared))),
        group_(group),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        row_(group * kGroupRows +
             accumulator_row(static_cast<int>(threadIdx.x) / kWarp % 4, lane_, 0)),
        softmax_(work.scale, lane_) {}

  __device__ void run() {
    if (kTurns && group_ == 1) named_arrive<kTurnOfFirst>();
    TileNote done{{}, -1};
    for (;;) {
      barrier(shared_.q_full[q_.stage]).wait(q_.parity);
      const TileNote note = shared_.notes[q_.stage];
      if (note.head < 0) break;
      if (kOverlap) {  // the tile before is stored beside the first product
        const Operands block = operands(k_, v_);
        await_keys(block);
        begin_scores(block);
      }
      if (done.head >= 0) store_state(done);
      load_state(note);
      BlockWalk walk = walk_over(note.rows, work_.segments);
      if constexpr (kOverlap) {
        fold_overlapped(walk, note.rows.in_run);
      } else {
        fold_in_order(walk, note.rows.in_run);
      }
      finish_state();
      done = note;
    }
    if (done.head >= 0) store_state(done);
  }

 private:
  using Memory = Shared<kHeadDim>;
  using Stage = RingPlace<Memory::kStages>;
  static constexpr int kOutputs = kGroupRows * kHeadDim / kWarpgroup;

  // Both walks do the same arithmetic in the same order.

  __device__ void fold_in_order(BlockWalk& walk, int in_run) {
    while (walk.next()) {
      const Operands block = operands(k_, v_);
      await_keys(block);
      take_turn();
      begin_scores(block);
      wgmma_wait<0>();
      pin(softmax_.scores());
      pass_turn();
      release(shared_.k_empty[k_.stage]);
      k_.advance();
      mask(walk, in_run);
      soften([] {});
      add_values(block);
      end_values();
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
  }

  __device__ void fold_overlapped(BlockWalk& walk, int in_run) {
    walk.next();  // every tile has a block; peeled, since a flag would serialise the products
    wgmma_wait<0>();
    pin(softmax_.scores());
    release(shared_.k_empty[k_.stage]);
    k_.advance();
    Operands block = operands(k_, v_);
    mask(walk, in_run);
    soften([] {});
    for (;;) {
      // The loop that takes the time has nothing of what few blocks need.
      for (int plain = walk.skip_inside(seen_); plain > 0; --plain) fold_next(block, [] {});
      if (!walk.next()) break;
      fold_next(block, [&] { mask(walk, in_run); });
    }
    release(shared_.q_empty[q_.stage]);
    q_.advance();
    add_values(block);
    end_values();
  }

  /// The scores of a block beside the values of the one before. `block` becomes the next one.
  template <typename Mask>
  __device__ __forceinline__ void fold_next(Operands& block, const Mask& mask_scores) {
    await_keys(block);
    take_turn();
    begin_scores(block);
    add_values(block);
    pass_turn();
    Stage k = k_, v = v_;
    k.advance();
    v.advance();
    block = operands(k, v);  // while the products run: before the next ones all would wait for it
    wgmma_wait<1>();
    pin(softmax_.scores());
    release(shared_.k_empty[k_.stage]);
    k_.advance();
    mask_scores();
    soften([&] { end_values(); });
  }

  __device__ Operands operands(const Stage& k, const Stage& v) const {
    const std::uint32_t rows = group_ * slab_bytes(kGroupRows);
    return {uniform(row_operand(address(shared_.q[q_.stage]) + rows)),
            uniform(row_operand(address(shared_.k[k.stage]))),
            uniform(column_operand(address(shared_.v[v.stage]), kBlockColumns)),
            barrier(shared_.k_full[k.stage]).is_over(k.parity),
            barrier(shared_.v_full[v.stage]).is_over(v.parity)};
  }

  /// Of shared memory: what the compiler would ask the hardware for again and again.
  template <typename T>
  __device__ std::uint32_t address(const T& member) const {
    return here_ + static_cast<std::uint32_t>(reinterpret_cast<const std::byte*>(&member) -
                                              reinterpret_cast<const std::byte*>(&shared_));
  }
  __device__ MbarrierAt barrier(const Mbarrier& member) const { return {address(member)}; }

  __device__ void await_keys(const Operands& block) {
    if (!block.k_is_there) barrier(shared_.k_full[k_.stage]).wait(k_.parity);
  }

  __device__ void begin_scores(const Operands& block) {
    pin(softmax_.scores());
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kHeadDim / kMatrixDepth; ++step) {
      wgmma_rows(softmax_.scores(), advanced(block.q, row_operand_step(kTileRows, step)),
                 advanced(block.k, row_operand_step(kBlockColumns, step)), step > 0);
    }
    wgmma_commit();
  }

  __device__ void add_values(const Operands& block) {
    if (!block.v_is_there) barrier(shared_.v_full[v_.stage]).wait(v_.parity);
    pin(o_);
    pin(softmax_.weights());
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kBlockColumns / kMatrixDepth; ++step) {
      wgmma_columns(o_, softmax_.weights() + 4 * step,
                    advanced(block.v, column_operand_step(step)));
    }
    wgmma_commit();
  }

  __device__ void end_values() {
    wgmma_wait<0>();
    pin(o_);
    pin(softmax_.weights());
    release(shared_.v_empty[v_.stage]);
    v_.advance();
  }

  /// A warp's own products are done; others of its warpgroup may still read.
  __device__ void release(const Mbarrier& empty) {
    if (lane_ == 0) barrier(empty).arrive();
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

  /// And what was summed up before follows m.
  template <typename Middle>
  __device__ __forceinline__ void soften(const Middle& middle) {
    float factor[2];
    if (!softmax_.soften(middle, factor)) return;
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) o_[i] *= factor[i / 2 % 2];
  }

  /// Columns of the walk's block that a row does not see do not count for it.
  __device__ void mask(const BlockWalk& walk, int in_run) {
    if (walk.begins_segment()) {
      const int first = in_run + group_ * kGroupRows;
      seen_ = SeenByAll(walk.segment(), first, first + kGroupRows - 1);
      softmax_.gather_sums();
    }
    if (!seen_.holds(walk.block())) {
      softmax_.mask(walk.segment(), walk.block() * kBlockColumns, in_run + row_);
    }
  }

  __device__ std::int64_t row_head(const TileNote& note, int half) const {
    return (note.rows.row + row_ + 8 * half) * work_.shape.query_heads + note.head;
  }

  __device__ void load_state(const TileNote& note) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t at = row_head(note, half);
      const bool exists = !work_.is_whole && row_ + 8 * half < note.rows.rows;
      softmax_.begin(half, exists ? work_.state.m[at] : -INFINITY,
                     exists ? work_.state.l[at] : 0.0f);
      const bool is_fresh = softmax_.m(half) == -INFINITY;  // then acc is 0, and need not be read
      const float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        o_[i + 2 * half] = is_fresh ? 0.0f : acc[2 * i];
        o_[i + 2 * half + 1] = is_fresh ? 0.0f : acc[2 * i + 1];
      }
    }
  }

  /// What is stored: the sums, or, where they are whole, O in their place and lse in that of m, as
  /// AttentionKernels::finish() has them.
  __device__ void finish_state() {
    softmax_.gather_sums();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = work_.is_whole ? softmax_.finish(half) : 1.0f;
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        o_[i + 2 * half] *= factor;
        o_[i + 2 * half + 1] *= factor;
      }
    }
  }

  __device__ void store_state(const TileNote& note) {
    // Callers may cut their memory at any float.
    const bool in_pairs = reinterpret_cast<std::uintptr_t>(work_.state.acc) % sizeof(float2) == 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row_ + 8 * half >= note.rows.rows) continue;
      const std::int64_t at = row_head(note, half);
      float* const acc = work_.state.acc + at * kHeadDim + accumulator_column(lane_, 0);
      // A row that saw nothing has sums of weights of 0: NaN, where a neighbour's value is
      // infinite.
      const bool is_empty = softmax_.m(half) == -INFINITY;
#pragma unroll
      for (int i = 0; i < kOutputs; i += 4) {
        const float first = is_empty ? 0.0f : o_[i + 2 * half];
        const float second = is_empty ? 0.0f : o_[i + 2 * half + 1];
        if (in_pairs) {
          *reinterpret_cast<float2*>(acc + 2 * i) = {first, second};
        } else {
          acc[2 * i] = first;
          acc[2 * i + 1] = second;
        }
      }
      if (lane_ % 4 == 0) {
        work_.state.m[at] = softmax_.m(half);
        if (!work_.is_whole) work_.state.l[at] = softmax_.l(half);
      }
    }
  }

  const PrefillSm90& work_;
  Memory& shared_;
  std::uint32_t here_;  // its address
  int group_;
  int lane_;
  int row_;  // of the tile: the first of this thread's two, the other is 8 further on
  RingPlace<kQueryStages> q_;
  Stage k_, v_;
  SeenByAll seen_;  // by all rows of this group, of the segment that is folded in
  BlockSoftmax softmax_;
  float o_[kOutputs];
};

}  // namespace longspan::sm90

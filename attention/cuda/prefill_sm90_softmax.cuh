// The softmax of a warpgroup's 64 rows, block by block of 128 columns, in the registers of its
// threads: scores where a matrix product leaves them, weights where the next one takes them.
//
// m is kept as the state holds it, scaled, in natural-log units; weights are 2^(s scale log2(e) -
// m log2(e)).
#pragma once

#include <cmath>
#include <cstdint>

#include "attention/cuda/matrix_tile.h"
#include "attention/cuda/prefill_sm90_stages.cuh"
#include "attention/cuda/prefill_tiles.h"
#include "attention/cuda/softmax.cuh"
#include "attention/cuda/warp.cuh"

namespace longspan::sm90 {

/// Of a thread: of two rows, eight apart, two neighbouring columns of every eight.
inline constexpr int kScores = kGroupRows * kBlockColumns / kWarpgroup;
inline constexpr int kHalf = kScores / 2;
/// Exponentials from one to the sum that takes it in.
inline constexpr int kLag = 8;
/// Scores whose maxima are taken before the first exponential.
inline constexpr int kFirst = kScores / 4;
/// By how much, in natural-log units, a score may exceed m before m is raised. O and l are
/// multiplied only when m rises, which it then seldom does after a tile's first block (as
/// FlashAttention-4 rescales).
inline constexpr float kSlack = 8 / kLog2e;

/// x scale + shift, and sum += x, where they stand: the assembler leaves them between exponentials.
__device__ inline float scaled(float x, float scale, float shift) {
  asm volatile("fma.rn.f32 %0, %0, %1, %2;" : "+f"(x) : "f"(scale), "f"(shift));
  return x;
}
__device__ inline void add(float& sum, float x) {
  asm volatile("add.f32 %0, %0, %1;" : "+f"(sum) : "f"(x));
}

/// Of a thread's scores of its two rows, two chains of each: one would be waited for at every step.
class Maxima {
 public:
  __device__ void take(int i, float score) {
    asm volatile("max.f32 %0, %0, %1;" : "+f"(top_[i / 2 % 2][i % 2]) : "f"(score));
  }
  __device__ float of_thread(int row) const { return fmaxf(top_[row][0], top_[row][1]); }
  /// Of the four lanes that share the row.
  __device__ float of_row(int row) const { return lanes_max<4>(of_thread(row)); }

 private:
  float top_[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
};

/// `first` in the lower half.
__device__ inline std::uint32_t pack(float first, float second) {
  std::uint32_t pair;
  asm volatile("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

class BlockSoftmax {
 public:
  __device__ BlockSoftmax(const float& scale, int lane) : scale_(scale), lane_(lane) {}

  /// For products to write and to read.
  __device__ float (&scores())[kScores] { return s_; }
  __device__ std::uint32_t (&weights())[kScores / 2] { return p_; }

  /// What earlier blocks, or launches, have left; -inf and 0: nothing.
  __device__ void begin(int row, float m, float l) {
    set_m(row, m);
    l_[row] = lane_ % 4 == 0 ? l : 0.0f;
  }
  __device__ float m(int row) const { return m_[row]; }
  __device__ float l(int row) const { return l_[row]; }

  /// Each row's sum in the first of the four lanes that share the row.
  __device__ void gather_sums() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float sum = lanes_sum<4>(l_[row]);
      l_[row] = lane_ % 4 == 0 ? sum : 0.0f;
    }
  }

  /// Of a row that is over: m becomes its lse. Returns what its sums are to be multiplied by.
  __device__ float finish(int row) {
    const float l = lanes_sum<4>(l_[row]);
    m_[row] = l == 0.0f ? -INFINITY : m_[row] + logf(l);
    return l == 0.0f ? 0.0f : 1.0f / l;
  }

  /// Columns that a row does not see do not count for it. `column`: the block's first; `first_row`:
  /// the thread's first in its run.
  __device__ void mask(const TileSegment& segment, int column, int first_row) {
    const int here = column + accumulator_column(lane_, 0);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 8 * half;
      const int begin = segment.begin.of(row) - here, end = segment.end.of(row) - here;
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int at = 8 * (i / 4) + n;
          float& value = s_[i + 2 * half + n];
          value = at >= begin && at < end ? value : -INFINITY;
        }
      }
    }
  }

  /// Scores become weights; m and l take them in. The maxima of most columns are taken between the
  /// exponentials of the first, and weights are packed between the last, when nothing reads those
  /// of the block before any more: middle() waits for that. Returns whether m was raised:
  /// factor[row] is then what the row's sums of earlier blocks are to be multiplied by.
  template <typename Middle>
  __device__ __forceinline__ bool soften(const Middle& middle, float (&factor)[2]) {
    const float scale = scale_ * kLog2e;
    factor[0] = factor[1] = 1.0f;
    Maxima top;
#pragma unroll
    for (int i = 0; i < kFirst; ++i) top.take(i, s_[i]);
    bool raised = rises(top);
    if (raised) raise(top, factor);
    float sum[2][2] = {};
    Maxima rest;
#pragma unroll
    for (int i = 0; i < kFirst; ++i) {
      s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
#pragma unroll
      for (int k = 0; k < kScores / kFirst - 1; ++k) {
        rest.take(kFirst + i * (kScores / kFirst - 1) + k,
                  s_[kFirst + i * (kScores / kFirst - 1) + k]);
      }
      if (i >= kLag) add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
    }
    if (rises(rest)) {
      float later[2] = {1.0f, 1.0f};
      raise(rest, later);
      lower_first(later, sum);
#pragma unroll
      for (int row = 0; row < 2; ++row) factor[row] *= later[row];
      raised = true;
    }
#pragma unroll
    for (int i = kFirst; i < kHalf; ++i) {
      s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
      add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
    }
    middle();
#pragma unroll
    for (int i = kHalf; i < kScores + kLag; ++i) {
      if (i < kScores) s_[i] = exp2_fast(scaled(s_[i], scale, shift_[i / 2 % 2]));
      add(sum[i / 2 % 2][i % 2], s_[i - kLag]);
      if (i % 2 == 0) continue;
      const int before = i - kHalf;
      if (before < kHalf) p_[before / 2] = pack(s_[before - 1], s_[before]);
      if (i - kLag >= kHalf) p_[(i - kLag) / 2] = pack(s_[i - kLag - 1], s_[i - kLag]);
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      l_[row] = fmaf(l_[row], factor[row], sum[row][0] + sum[row][1]);
    }
    return raised;
  }

 private:
  /// Whether one of the warp's rows has to raise its m.
  __device__ bool rises(const Maxima& top) const {
    return __any_sync(0xffffffffu, is_above(top.of_thread(0), 0) || is_above(top.of_thread(1), 1));
  }

  /// Weights, and their sums, from before m was raised.
  __device__ void lower_first(const float (&factor)[2], float (&sum)[2][2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i / 2][i % 2] *= factor[i / 2];
#pragma unroll
    for (int i = 0; i < kFirst; ++i) s_[i] *= factor[i / 2 % 2];
  }

  /// m of those rows of the warp that have to: what depends on a row is decided by its own columns.
  /// factor[row] is what its sums are multiplied by.
  __device__ void raise(const Maxima& top, float (&factor)[2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float score = top.of_row(row);
      if (is_above(score, row)) {
        const float m = score * scale_;
        factor[row] = exp2_fast((m_[row] - m) * kLog2e);
        set_m(row, m);
      }
    }
  }

  /// Whether m has to rise.
  __device__ bool is_above(float score, int row) const { return score * scale_ > m_[row] + kSlack; }

  /// And what follows from it.
  __device__ void set_m(int row, float m) {
    m_[row] = m;
    shift_[row] = -base_of(m) * kLog2e;
  }

  const float& scale_;  // stays where it is: a constant of the launch
  int lane_;
  float m_[2], l_[2];
  float shift_[2];                // what m adds to exponents
  float s_[kScores];              // scores, then weights
  std::uint32_t p_[kScores / 2];  // weights, in pairs
};

}  // namespace longspan::sm90

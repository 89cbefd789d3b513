// Prefill: one tile of FlashAttention-2 (arXiv 2307.08691, algorithm 1) with query rows in lanes.
#pragma once

#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/vector.inl"

namespace longspan {
namespace {

/// Scores of kRows columns against V vectors of lanes.
template <int W, int V, int kRows>
[[gnu::always_inline]] inline void score_rows(const float* q, const float* const* k, int head_dim,
                                              float* scores) {
  const float* row[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) row[r] = k[r];
  Floats<W> sum[kRows][V] = {};
  for (int d = 0; d < head_dim; ++d, q += V * W) {
    Floats<W> x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) x[v] = load<W>(q + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats<W> key = splat<W>(row[r][d]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] += key * x[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store<W>(scores + (r * V + v) * W, sum[r][v]);
  }
}

/// acc(d, lane) = acc * alpha + sum of v * p, for kRows values of d. kGuarded: a column that a
/// lane does not see may hold NaN there, and 0 * NaN is NaN, so its values are cleared first.
template <int W, int V, int kRows, bool kGuarded>
[[gnu::always_inline]] inline void accumulate_rows(const float* p, const float* const* values,
                                                   int columns, int d, const float* alpha,
                                                   float* acc) {
  Floats<W> sum[kRows][V];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sum[r][v] = load<W>(acc + (r * V + v) * W) * load<W>(alpha + v * W);
    }
  }
  for (int column = 0; column < columns; ++column, p += V * W) {
    const float* row = values[column] + d;
    Floats<W> x[V];
    Ints<W> keep[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      x[v] = load<W>(p + v * W);
      if constexpr (kGuarded) keep[v] = x[v] != 0.0f;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats<W> value = splat<W>(row[r]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        if constexpr (kGuarded) {
          sum[r][v] += from_bits<W>(bits<W>(value) & keep[v]) * x[v];
        } else {
          sum[r][v] += value * x[v];
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store<W>(acc + (r * V + v) * W, sum[r][v]);
  }
}

/// Turns scores into p = e^(score - m) with the new maximum m, updates l, and leaves in alpha what
/// everything summed so far must be multiplied by.
template <int W, int V, bool kMasked>
[[gnu::always_inline]] inline void soften(float* scores, int columns, const LaneColumns& seen,
                                          float* m, float* l, float* alpha) {
  Floats<W> top[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) top[v] = load<W>(m + v * W);
  for (int column = 0; column < columns; ++column) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* at = scores + (column * V + v) * W;
      Floats<W> score = load<W>(at);
      if constexpr (kMasked) {
        const Ints<W> begin = *reinterpret_cast<const Ints<W>*>(seen.begin + v * W);
        const Ints<W> end = *reinterpret_cast<const Ints<W>*>(seen.end + v * W);
        score = (column >= begin) & (column < end) ? score : splat<W>(kMinusInfinity);
        store<W>(at, score);
      }
      top[v] = score > top[v] ? score : top[v];
    }
  }
  Floats<W> base[V];
  Floats<W> sum[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    // Nothing seen yet and nothing to see here: (-inf) - (-inf) must not be evaluated.
    base[v] = top[v] == kMinusInfinity ? Floats<W>{} : top[v];
    const Floats<W> factor = exp_nonpositive<W>(load<W>(m + v * W) - base[v]);
    store<W>(alpha + v * W, factor);
    store<W>(m + v * W, top[v]);
    sum[v] = load<W>(l + v * W) * factor;
  }
  for (int column = 0; column < columns; ++column) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* at = scores + (column * V + v) * W;
      const Floats<W> p = exp_nonpositive<W>(load<W>(at) - base[v]);
      store<W>(at, p);
      sum[v] += p;
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store<W>(l + v * W, sum[v]);
}

/// Broadcast rows per step: with full blocks as many as registers allow, with one vector enough
/// independent sums to cover the latency of a multiply-add.
template <int W, int V>
constexpr int kRowsPerStep = V == 1 || W == 16 ? 8 : 4;

template <int W, int V>
void attend_block(const LaneBlock& block, const KeyTile& keys, const LaneColumns& seen,
                  float* scores) {
  constexpr int kRows = kRowsPerStep<W, V>;
  constexpr int kLanes = V * W;
  alignas(64) float alpha[kLanes];
  for (int column = 0; column < keys.columns; column += kRows) {
    score_rows<W, V, kRows>(block.q, keys.k + column, block.head_dim, scores + column * kLanes);
  }
  if (seen.end) {
    soften<W, V, true>(scores, keys.columns, seen, block.m, block.l, alpha);
    for (int d = 0; d < block.head_dim; d += 2) {
      accumulate_rows<W, V, 2, true>(scores, keys.v, keys.columns, d, alpha,
                                     block.acc + d * kLanes);
    }
  } else {
    soften<W, V, false>(scores, keys.columns, seen, block.m, block.l, alpha);
    for (int d = 0; d < block.head_dim; d += kRows) {
      accumulate_rows<W, V, kRows, false>(scores, keys.v, keys.columns, d, alpha,
                                          block.acc + d * kLanes);
    }
  }
}

template <int W>
void attend_lanes(const LaneBlock& block, const KeyTile& keys, const LaneColumns& seen,
                  float* scores) {
  static_assert(kBlockVectors == 3, "a case per number of vectors");
  if (block.vectors == 1) attend_block<W, 1>(block, keys, seen, scores);
  if (block.vectors == 2) attend_block<W, 2>(block, keys, seen, scores);
  if (block.vectors == 3) attend_block<W, 3>(block, keys, seen, scores);
}

}  // namespace
}  // namespace longspan

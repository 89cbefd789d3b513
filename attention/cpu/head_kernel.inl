// Decode: one row's query heads against one tile of keys, with head_dim in lanes.
//
// A row has few heads per KV head, which would leave most lanes of the prefill kernel idle. Here K
// and V are read as whole vectors and each is used by up to kHeads heads: the work per key stays
// below the time it takes to fetch it, if fetching never pauses. It would at the end of every page,
// where the hardware cannot guess what comes; so each step asks for the rows a little ahead: of
// this tile's keys, then of its values, then of the next tile's keys.
#pragma once

#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/vector.inl"

namespace longspan {
namespace {

/// Sums of neighbours: within each quarter of four, two of a, then two of b.
template <int W>
[[gnu::always_inline]] inline Floats<W> add_pairs(Floats<W> a, Floats<W> b) {
  static_assert(W == 4 || W == 8 || W == 16);
  if constexpr (W == 4) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
  } else if constexpr (W == 8) {
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
  } else {
    return __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28,
                                   30) +
           __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
  }
}

/// The four vectors' sums over all their lanes.
template <int W>
[[gnu::always_inline]] inline Floats<4> add_lanes(const Floats<W> (&vectors)[4]) {
  const Floats<W> quarters =
      add_pairs<W>(add_pairs<W>(vectors[0], vectors[1]), add_pairs<W>(vectors[2], vectors[3]));
  Floats<4> sum = {quarters[0], quarters[1], quarters[2], quarters[3]};
#pragma GCC unroll 4
  for (int i = 4; i < W; i += 4) {
    sum += Floats<4>{quarters[i], quarters[i + 1], quarters[i + 2], quarters[i + 3]};
  }
  return sum;
}

/// How many columns ahead rows are fetched. Rows of 64 values: 4 KiB. Much further, and they fight
/// with what the hardware fetches by itself; much nearer, and they come too late.
constexpr int kAhead = 16;

/// Asks for the cache lines of `values` floats.
[[gnu::always_inline]] inline void fetch(const float* from, int values) {
  constexpr int kLine = 64 / sizeof(float);
  for (int i = 0; i < values; i += kLine) __builtin_prefetch(from + i, 0, 3);
}

/// Scores of four columns against kHeads heads; scores: (kHeads, kTileColumns). `later`: four rows
/// to fetch.
template <int W, int kHeads>
[[gnu::always_inline]] inline void score_columns(const float* q, const float* const* k,
                                                 const float* const* later, int head_dim,
                                                 float* scores) {
  constexpr int kColumns = 4;
  const float* row[kColumns] = {k[0], k[1], k[2], k[3]};
  Floats<W> sum[kHeads][kColumns] = {};
  for (int c = 0; c < kColumns; ++c) fetch(later[c], head_dim);
  for (int d = 0; d < head_dim; d += W) {
    Floats<W> x[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) x[h] = load_unaligned<W>(q + h * head_dim + d);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Floats<W> key = load_unaligned<W>(row[c] + d);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][c] += key * x[h];
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) store<4>(scores + h * kTileColumns, add_lanes<W>(sum[h]));
}

/// One head's scores become p = e^(score - m); m and l are updated. The result is what everything
/// summed so far must be multiplied by.
template <int W>
float soften_columns(float* scores, int columns, float* m, float* l) {
  int padded = columns;
  for (; padded % W != 0; ++padded) scores[padded] = kMinusInfinity;
  Floats<W> tops = splat<W>(*m);
  for (int c = 0; c < padded; c += W) {
    const Floats<W> score = load<W>(scores + c);
    tops = score > tops ? score : tops;
  }
  float top = tops[0];
  for (int i = 1; i < W; ++i) top = tops[i] > top ? tops[i] : top;
  const float base = top == kMinusInfinity ? 0.0f : top;  // every score may be -inf
  Floats<W> sums = {};
  for (int c = 0; c < padded; c += W) {
    const Floats<W> p = exp_nonpositive<W>(load<W>(scores + c) - base);
    store<W>(scores + c, p);
    sums += p;
  }
  float sum = 0;
  for (int i = 0; i < W; ++i) sum += sums[i];
  const float factor = exp_nonpositive<W>(splat<W>(*m - base))[0];
  *m = top;
  *l = *l * factor + sum;
  return factor;
}

/// acc = acc * alpha + sum of p * v over `columns` rows of v, for kVectors vectors of values from
/// d on. p: (kHeads, kTileColumns). `later`: as many rows to fetch.
template <int W, int kHeads, int kVectors>
[[gnu::always_inline]] inline void accumulate_columns(const float* p, const float* const* v,
                                                      const float* const* later, int columns, int d,
                                                      int head_dim, const float* alpha,
                                                      float* acc) {
  Floats<W> sum[kHeads][kVectors];
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      sum[h][i] = load_unaligned<W>(acc + h * head_dim + d + i * W) * alpha[h];
    }
  }
  for (int c = 0; c < columns; ++c) {
    const float* row = v[c] + d;
    fetch(later[c] + d, kVectors * W);
    Floats<W> weight[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) weight[h] = splat<W>(p[h * kTileColumns + c]);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const Floats<W> value = load_unaligned<W>(row + i * W);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][i] += value * weight[h];
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      store_unaligned<W>(acc + h * head_dim + d + i * W, sum[h][i]);
    }
  }
}

/// All of acc from d on: as many vectors at a time as there are registers for, then half as many.
template <int W, int kHeads, int kVectors>
void accumulate_from(const float* p, const float* const* v, const float* const* later, int columns,
                     int d, int head_dim, const float* alpha, float* acc) {
  for (; d + kVectors * W <= head_dim; d += kVectors * W) {
    accumulate_columns<W, kHeads, kVectors>(p, v, later, columns, d, head_dim, alpha, acc);
  }
  if constexpr (kVectors > 1) {
    accumulate_from<W, kHeads, kVectors / 2>(p, v, later, columns, d, head_dim, alpha, acc);
  }
}

template <int W, int kHeads>
void attend_some_heads(const HeadBlock& block, int head, const KeyTile& keys, const KeyTile& next) {
  const std::int64_t offset = static_cast<std::int64_t>(head) * block.head_dim;
  alignas(64) float scores[kHeads * kTileColumns];
  for (int c = 0; c < keys.columns; c += 4) {
    const int ahead = c + kAhead;
    const float* const* later =
        ahead < keys.columns ? keys.k + ahead : keys.v + (ahead - keys.columns);
    score_columns<W, kHeads>(block.q + offset, keys.k + c, later, block.head_dim, scores + c);
  }
  float alpha[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    alpha[h] = soften_columns<W>(scores + h * kTileColumns, keys.columns, block.m + head + h,
                                 block.l + head + h);
  }
  // A few columns at a time: all of their values are in the cache when the last vectors of
  // head_dim have their turn.
  for (int c = 0; c < keys.columns; c += kAhead) {
    const int left = keys.columns - c;
    const int columns = left < kAhead ? left : kAhead;
    const float* const* later = left > kAhead ? keys.v + c + kAhead : next.k;
    accumulate_from<W, kHeads, kHeads == 1 ? 8 : 4>(scores + c, keys.v + c, later, columns, 0,
                                                    block.head_dim, alpha, block.acc + offset);
    for (int h = 0; h < kHeads; ++h) alpha[h] = 1.0f;
  }
}

/// Three heads by four columns are twelve sums, AVX2's limit; four heads go as two and two, since
/// one alone reads as many keys for half the work.
template <int W>
void attend_in_vectors(const HeadBlock& block, const KeyTile& keys, const KeyTile& next) {
  for (int head = 0; head < block.heads;) {
    const int left = block.heads - head;
    if (left == 1) {
      attend_some_heads<W, 1>(block, head, keys, next);
      head += 1;
    } else if (left == 2 || left == 4) {
      attend_some_heads<W, 2>(block, head, keys, next);
      head += 2;
    } else {
      attend_some_heads<W, 3>(block, head, keys, next);
      head += 3;
    }
  }
}

/// Vectors of W floats where they divide a row of head_dim, a multiple of 8; else of 8.
template <int W>
void attend_heads(const HeadBlock& block, const KeyTile& keys, const KeyTile& next) {
  constexpr int kNarrow = W > 8 ? 8 : W;
  if (block.head_dim % W == 0) {
    attend_in_vectors<W>(block, keys, next);
  } else {
    attend_in_vectors<kNarrow>(block, keys, next);
  }
}

}  // namespace
}  // namespace longspan

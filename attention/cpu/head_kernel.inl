// Decode: one row's query heads against one tile of keys, with head_dim in lanes.
//
// A row has few heads per KV head, which would leave most lanes of the prefill kernel idle. Here K
// and V are read as whole vectors and each is used by up to kHeads heads: the work per key stays
// below the time it takes to fetch it, if fetching never pauses. It would at the end of every page,
// where the hardware cannot guess what comes; so each step asks for the rows a little ahead: of
// this tile's keys, then of its values, then of the next tile's keys.
//
// Keys of bfloat16 are widened on their way into registers, which costs less than memory takes for
// them; written out as float32 first they would leave the L1 cache and have to come back.
#pragma once

#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/vector.inl"
#include "attention/head_dim.h"

namespace longspan {
namespace {

/// 2 W values of a row as floats: floats as they lie, bfloat16 with those of even index first,
/// since the lower half of each word is shifted up and the upper half needs no move.
template <int W>
struct Two {
  Floats<W> first, second;
};

template <int W>
[[gnu::always_inline]] inline Two<W> load_two(const float* from) {
  return {load_unaligned<W>(from), load_unaligned<W>(from + W)};
}
template <int W>
[[gnu::always_inline]] inline Two<W> load_two(const std::uint16_t* bfloat16) {
  typedef std::uint32_t Unaligned
      __attribute__((vector_size(W * 4), may_alias, aligned(alignof(std::uint16_t))));
  using Words = typename Vector<W>::Words;
  const Words words = *reinterpret_cast<const Unaligned*>(bfloat16);
  return {reinterpret_cast<Floats<W>>(words << 16),
          reinterpret_cast<Floats<W>>(words & 0xffff0000u)};
}

/// Lanes of even index of both vectors, then those of odd index; and back.
template <int W>
[[gnu::always_inline]] inline Two<W> divide_pairs(Two<W> x) {
  static_assert(W == 4 || W == 8 || W == 16);
  if constexpr (W == 4) {
    return {__builtin_shufflevector(x.first, x.second, 0, 2, 4, 6),
            __builtin_shufflevector(x.first, x.second, 1, 3, 5, 7)};
  } else if constexpr (W == 8) {
    return {__builtin_shufflevector(x.first, x.second, 0, 2, 4, 6, 8, 10, 12, 14),
            __builtin_shufflevector(x.first, x.second, 1, 3, 5, 7, 9, 11, 13, 15)};
  } else {
    return {__builtin_shufflevector(x.first, x.second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,
                                    24, 26, 28, 30),
            __builtin_shufflevector(x.first, x.second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23,
                                    25, 27, 29, 31)};
  }
}
template <int W>
[[gnu::always_inline]] inline Two<W> join_pairs(Two<W> x) {
  static_assert(W == 4 || W == 8 || W == 16);
  if constexpr (W == 4) {
    return {__builtin_shufflevector(x.first, x.second, 0, 4, 1, 5),
            __builtin_shufflevector(x.first, x.second, 2, 6, 3, 7)};
  } else if constexpr (W == 8) {
    return {__builtin_shufflevector(x.first, x.second, 0, 8, 1, 9, 2, 10, 3, 11),
            __builtin_shufflevector(x.first, x.second, 4, 12, 5, 13, 6, 14, 7, 15)};
  } else {
    return {__builtin_shufflevector(x.first, x.second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                    22, 7, 23),
            __builtin_shufflevector(x.first, x.second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                    14, 30, 15, 31)};
  }
}

/// Floats in the order in which load_two() gives values of this type; and back.
template <int W, typename Value>
[[gnu::always_inline]] inline Two<W> load_ordered(const float* from) {
  const Two<W> two = load_two<W>(from);
  if constexpr (sizeof(Value) == sizeof(float)) return two;
  return divide_pairs<W>(two);
}
template <int W, typename Value>
[[gnu::always_inline]] inline void store_ordered(float* to, Two<W> two) {
  if constexpr (sizeof(Value) != sizeof(float)) two = join_pairs<W>(two);
  store_unaligned<W>(to, two.first);
  store_unaligned<W>(to + W, two.second);
}

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
  return fold_quarters<W>(
      add_pairs<W>(add_pairs<W>(vectors[0], vectors[1]), add_pairs<W>(vectors[2], vectors[3])),
      [](auto a, auto b) { return a + b; });
}

/// How many columns ahead rows are fetched. Rows of 64 values: 4 KiB. Much further, and they fight
/// with what the hardware fetches by itself; much nearer, and they come too late.
template <typename Value>
constexpr int kAhead = 64 / sizeof(Value);

/// Asks for the cache lines of `count` values.
template <typename Value>
[[gnu::always_inline]] inline void fetch(const Value* from, int count) {
  constexpr int kLine = 64 / sizeof(Value);
  for (int i = 0; i < count; i += kLine) __builtin_prefetch(from + i, 0, 3);
}

/// Scores of four columns against kHeads heads; q: (kHeads, head_dim), ordered; scores:
/// (kHeads, kTileColumns). `later`: four rows to fetch.
template <int W, int kHeads, typename Value>
[[gnu::always_inline]] inline void score_columns(const float* q, const Value* const* k,
                                                 const Value* const* later, int head_dim,
                                                 float* scores) {
  constexpr int kColumns = 4;
  const Value* row[kColumns] = {k[0], k[1], k[2], k[3]};
  Floats<W> sum[kHeads][kColumns] = {};
  for (int c = 0; c < kColumns; ++c) fetch(later[c], head_dim);
  for (int d = 0; d < head_dim; d += 2 * W) {
    Two<W> x[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) x[h] = load_two<W>(q + h * head_dim + d);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Two<W> key = load_two<W>(row[c] + d);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][c] += key.first * x[h].first;
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][c] += key.second * x[h].second;
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
  const float top = fold_lanes<W>(tops, [](auto a, auto b) { return a > b ? a : b; });
  const float base = top == kMinusInfinity ? 0.0f : top;  // every score may be -inf
  Floats<W> sums = {};
  for (int c = 0; c < padded; c += W) {
    const Floats<W> p = exp_nonpositive<W>(load<W>(scores + c) - base);
    store<W>(scores + c, p);
    sums += p;
  }
  const float sum = fold_lanes<W>(sums, [](auto a, auto b) { return a + b; });
  const float factor = exp_nonpositive<W>(splat<W>(*m - base))[0];
  *m = top;
  *l = *l * factor + sum;
  return factor;
}

/// acc = acc * alpha + sum of p * v over `columns` rows of v, for 2 kTwos vectors of values from d
/// on. p: (kHeads, kTileColumns). `later`: as many rows to fetch.
template <int W, int kHeads, int kTwos, typename Value>
[[gnu::always_inline]] inline void accumulate_columns(const float* p, const Value* const* v,
                                                      const Value* const* later, int columns, int d,
                                                      int head_dim, const float* alpha,
                                                      float* acc) {
  Two<W> sum[kHeads][kTwos];
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int i = 0; i < kTwos; ++i) {
      const Two<W> before = load_ordered<W, Value>(acc + h * head_dim + d + 2 * i * W);
      sum[h][i] = {before.first * alpha[h], before.second * alpha[h]};
    }
  }
  for (int c = 0; c < columns; ++c) {
    const Value* row = v[c] + d;
    fetch(later[c] + d, 2 * kTwos * W);
    Floats<W> weight[kHeads];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) weight[h] = splat<W>(p[h * kTileColumns + c]);
#pragma GCC unroll 8
    for (int i = 0; i < kTwos; ++i) {
      const Two<W> value = load_two<W>(row + 2 * i * W);
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][i].first += value.first * weight[h];
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) sum[h][i].second += value.second * weight[h];
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int i = 0; i < kTwos; ++i) {
      store_ordered<W, Value>(acc + h * head_dim + d + 2 * i * W, sum[h][i]);
    }
  }
}

/// All of acc from d on: as many vectors at a time as there are registers for, then half as many.
template <int W, int kHeads, int kTwos, typename Value>
void accumulate_from(const float* p, const Value* const* v, const Value* const* later, int columns,
                     int d, int head_dim, const float* alpha, float* acc) {
  for (; d + 2 * kTwos * W <= head_dim; d += 2 * kTwos * W) {
    accumulate_columns<W, kHeads, kTwos>(p, v, later, columns, d, head_dim, alpha, acc);
  }
  if constexpr (kTwos > 1) {
    accumulate_from<W, kHeads, kTwos / 2>(p, v, later, columns, d, head_dim, alpha, acc);
  }
}

template <int W, int kHeads, typename Value>
void attend_some_heads(const HeadBlock& block, int head, const TileOf<Value>& keys,
                       const TileOf<Value>& next) {
  const std::int64_t offset = static_cast<std::int64_t>(head) * block.head_dim;
  alignas(64) float scores[kHeads * kTileColumns];
  alignas(64) float q[kHeads * kMostHeadDim];
  for (int i = 0; i < kHeads * block.head_dim; i += 2 * W) {
    const Two<W> two = load_ordered<W, Value>(block.q + offset + i);
    store_unaligned<W>(q + i, two.first);
    store_unaligned<W>(q + i + W, two.second);
  }
  for (int c = 0; c < keys.columns; c += 4) {
    const int ahead = c + kAhead<Value>;
    const Value* const* later =
        ahead < keys.columns ? keys.k + ahead : keys.v + (ahead - keys.columns);
    score_columns<W, kHeads>(q, keys.k + c, later, block.head_dim, scores + c);
  }
  float alpha[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    alpha[h] = soften_columns<W>(scores + h * kTileColumns, keys.columns, block.m + head + h,
                                 block.l + head + h);
  }
  // A few columns at a time: all of their values are in the cache when the last vectors of
  // head_dim have their turn.
  for (int c = 0; c < keys.columns; c += kAhead<Value>) {
    const int left = keys.columns - c;
    const int columns = left < kAhead<Value> ? left : kAhead<Value>;
    const Value* const* later = left > kAhead<Value> ? keys.v + c + kAhead<Value> : next.k;
    accumulate_from<W, kHeads, kHeads == 1 ? 4 : 2>(scores + c, keys.v + c, later, columns, 0,
                                                    block.head_dim, alpha, block.acc + offset);
    for (int h = 0; h < kHeads; ++h) alpha[h] = 1.0f;
  }
}

/// Three heads by four columns are twelve sums, AVX2's limit; four heads go as two and two, since
/// one alone reads as many keys for half the work.
template <int W, typename Value>
void attend_in_vectors(const HeadBlock& block, const TileOf<Value>& keys,
                       const TileOf<Value>& next) {
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

/// Vectors as wide as W if two of them divide a row of head_dim, a multiple of 8.
template <int W, typename Value>
void attend_heads(const HeadBlock& block, const TileOf<Value>& keys, const TileOf<Value>& next) {
  if constexpr (W > 4) {
    if (block.head_dim % (2 * W) != 0) return attend_heads<W / 2>(block, keys, next);
  }
  attend_in_vectors<W>(block, keys, next);
}

}  // namespace
}  // namespace longspan

// Prefill in bfloat16 by a matrix unit: one tile of FlashAttention-2 (arXiv 2307.08691, algorithm
// 1) with query rows in lanes.
//
// `Unit` is the matrix unit: eight numbered tiles that are loaded, multiplied and stored.
#pragma once

#include "attention/cpu/matrix_kernels.h"
#include "attention/cpu/narrow_values.inl"
#include "attention/cpu/vector.inl"

namespace longspan {
namespace {

constexpr int kVectorLanes = 16;               // also of a tile of the unit
constexpr int kTileRows = 16;                  // of the unit
constexpr int kTileBytes = 64;                 // of a row of a tile
constexpr int kDepth = kMatrixDepth;           // bfloat16 values in such a row
constexpr int kPairTile = kTileRows * kDepth;  // values of a tile of interleaved rows
constexpr int kTwo = kMatrixLanes / kVectorLanes;
using Vec = Floats<kVectorLanes>;
using IntVec = Ints<kVectorLanes>;
using WordVec = Vector<kVectorLanes>::Words;

/// The larger; of two of which one is NaN, b. In one instruction, which the compiler does not find.
[[gnu::always_inline]] inline Vec larger(Vec a, Vec b) {
#ifdef __AVX512F__
  return reinterpret_cast<Vec>(
      _mm512_maskz_max_ps(0xffff, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a > b ? a : b;
#endif
}

/// 2^x for x <= 0, within 3e-6 relative, far below what rounding to bfloat16 does; 2^-126 below
/// that. Exactly 1 at 0. As exp_nonpositive(), with a minimax polynomial for 2^r.
[[gnu::always_inline]] inline Vec exp2_nonpositive(Vec x) {
  constexpr float kRound = 12582912.0f;
  x = larger(splat<kVectorLanes>(-126.0f), x);
  const Vec shifted = x + kRound;
  const Vec r = x - (shifted - kRound);
  Vec p = r * 0.00958285f + 0.05590642f;
  p = p * r + 0.24024099f;
  p = p * r + 0.69312419f;
  p = p * r + 1.0f;
  const WordVec exponent = reinterpret_cast<WordVec>(shifted) << 23;
  return reinterpret_cast<Vec>(reinterpret_cast<WordVec>(p) + exponent);
}

/// Two vectors of values that are no NaN as interleaved pairs of bfloat16: even, odd, even, ...
[[gnu::always_inline]] inline WordVec pairs(Vec even, Vec odd) {
  const WordVec low = reinterpret_cast<WordVec>(even) + 0x8000u;
  const WordVec high = reinterpret_cast<WordVec>(odd) + 0x8000u;
  return (low >> 16) | (high & 0xffff0000u);
}

/// Rows and columns change places: two halves of each pair of vectors at a time.
template <int kStep>
[[gnu::always_inline]] inline void exchange(WordVec (&rows)[kVectorLanes]) {
  IntVec first, second;
  for (int lane = 0; lane < kVectorLanes; ++lane) {
    const bool upper = lane & kStep;
    first[lane] = upper ? kVectorLanes + lane - kStep : lane;
    second[lane] = upper ? kVectorLanes + lane : lane + kStep;
  }
#pragma GCC unroll 16
  for (int row = 0; row < kVectorLanes; ++row) {
    if (row & kStep) continue;
    const WordVec a = rows[row], b = rows[row + kStep];
    rows[row] = __builtin_shuffle(a, b, first);
    rows[row + kStep] = __builtin_shuffle(a, b, second);
  }
}

[[gnu::always_inline]] inline void transpose(WordVec (&rows)[kVectorLanes]) {
  exchange<1>(rows);
  exchange<2>(rows);
  exchange<4>(rows);
  exchange<8>(rows);
}

[[gnu::always_inline]] inline bool is_finite(const float* row, int count) {
  std::uint32_t wild = 0;
  for (int i = 0; i < count; ++i) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, row + i, sizeof bits);
    wild |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return wild == 0;
}

/// 16 values of each of 32 columns, transposed.
[[gnu::always_inline]] inline void pack_values(const float* const* columns, std::uint16_t* to) {
  WordVec rows[kVectorLanes];
#pragma GCC unroll 16
  for (int pair = 0; pair < kVectorLanes; ++pair) {
    rows[pair] = pairs(load_unaligned<kVectorLanes>(columns[2 * pair]),
                       load_unaligned<kVectorLanes>(columns[2 * pair + 1]));
  }
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kVectorLanes; ++i) {
    *reinterpret_cast<WordVec*>(to + i * kTileColumns) = rows[i];
  }
}

inline void pack_keys(const KeyTile& keys, int head_dim, PackedKeys& packed) {
  static constexpr float kZeros[kVectorLanes] = {};
  const int depth = padded_head(head_dim);
  packed.wild = 0;
  for (int column = 0; column < kTileColumns; ++column) {
    std::uint16_t* to = packed.k + column * depth;
    if (column >= keys.columns) {
      __builtin_memset(to, 0, depth * sizeof(std::uint16_t));
      continue;
    }
    narrow_bfloat16(keys.k[column], head_dim, to);
    for (int d = head_dim; d < depth; ++d) to[d] = 0;
    if (!is_finite(keys.v[column], head_dim)) packed.wild |= std::uint64_t{1} << column;
  }
  for (int d = 0; d < depth; d += kVectorLanes) {
    // Where a vector would reach beyond a row, its 8 last values come from here.
    alignas(64) float ends[kTileColumns][kVectorLanes];
    const float* columns[kTileColumns];
    for (int column = 0; column < kTileColumns; ++column) {
      const bool taken = column < keys.columns && !(packed.wild >> column & 1) && d < head_dim;
      columns[column] = taken ? keys.v[column] + d : kZeros;
      if (!taken || d + kVectorLanes <= head_dim) continue;
      __builtin_memset(ends[column], 0, sizeof ends[column]);
      __builtin_memcpy(ends[column], keys.v[column] + d, (head_dim - d) * sizeof(float));
      columns[column] = ends[column];
    }
    std::uint16_t* to = packed.v + d * kTileColumns;
    pack_values(columns, to);
    pack_values(columns + kDepth, to + kDepth);
  }
}

/// Tiles 0-3 are sums: columns or dimensions down, lanes across. 4, 5: left factor; 6, 7: right.
template <typename Unit>
[[gnu::always_inline]] inline void multiply_tiles(const std::uint16_t* left, int left_stride,
                                                  const std::uint16_t* right, int right_lanes) {
  Unit::template load<4>(left, left_stride);
  Unit::template load<6>(right, kTileBytes);
  Unit::template load<5>(left + kTileRows * left_stride / 2, left_stride);
  Unit::template load<7>(right + right_lanes, kTileBytes);
  Unit::template multiply<0, 4, 6>();
  Unit::template multiply<1, 4, 7>();
  Unit::template multiply<2, 5, 6>();
  Unit::template multiply<3, 5, 7>();
}

template <typename Unit>
[[gnu::always_inline]] inline void store_sums(float* to) {
  constexpr int kStride = kMatrixLanes * sizeof(float);
  Unit::template store<0>(to, kStride);
  Unit::template store<1>(to + kVectorLanes, kStride);
  Unit::template store<2>(to + kTileRows * kMatrixLanes, kStride);
  Unit::template store<3>(to + kTileRows * kMatrixLanes + kVectorLanes, kStride);
}

template <typename Unit>
[[gnu::always_inline]] inline void load_sums(const float* from) {
  constexpr int kStride = kMatrixLanes * sizeof(float);
  Unit::template load<0>(from, kStride);
  Unit::template load<1>(from + kVectorLanes, kStride);
  Unit::template load<2>(from + kTileRows * kMatrixLanes, kStride);
  Unit::template load<3>(from + kTileRows * kMatrixLanes + kVectorLanes, kStride);
}

template <typename Unit>
void matrix_score(const MatrixBlock& block, const PackedKeys& packed, int columns,
                  const MatrixScratch& scratch) {
  const int depth = padded_head(block.head_dim);
  const int lane_tile = depth / 2 * kVectorLanes * 2;  // values from one tile of lanes to the next
  for (int column = 0; column < columns; column += 2 * kTileRows) {
    Unit::clear_sums();
    for (int d = 0; d < depth; d += kDepth) {
      multiply_tiles<Unit>(packed.k + column * depth + d, depth * 2, block.q + d * kVectorLanes,
                           lane_tile);
    }
    store_sums<Unit>(scratch.scores + column * kMatrixLanes);
  }
}

/// acc *= alpha, if that changes any lane: late in a stream maxima hardly move.
[[gnu::always_inline]] inline void rescale(const MatrixBlock& block, const Vec (&alpha)[kTwo]) {
  IntVec changed = {};
  for (int v = 0; v < kTwo; ++v) changed |= alpha[v] != 1.0f;
  int any = 0;
  for (int lane = 0; lane < kVectorLanes; ++lane) any |= changed[lane];
  if (!any) return;
  const int depth = padded_head(block.head_dim);
  for (int d = 0; d < depth; ++d) {
    for (int v = 0; v < kTwo; ++v) {
      float* at = block.acc + d * kMatrixLanes + v * kVectorLanes;
      store<kVectorLanes>(at, load<kVectorLanes>(at) * alpha[v]);
    }
  }
}

/// Turns scores into p = e^(scale * score - m) with the new maximum m, as interleaved pairs, and
/// brings l and acc to that maximum.
template <bool kMasked>
[[gnu::always_inline]] inline void soften_block(const MatrixBlock& block, int columns,
                                                const LaneColumns& seen,
                                                const MatrixScratch& scratch) {
  constexpr float kLog2E = 1.44269504f;
  const auto score_at = [&](int column, int v) {
    const Vec score = load<kVectorLanes>(scratch.scores + column * kMatrixLanes + v * kVectorLanes);
    if constexpr (!kMasked) return score;
    const IntVec begin = *reinterpret_cast<const IntVec*>(seen.begin + v * kVectorLanes);
    const IntVec end = *reinterpret_cast<const IntVec*>(seen.end + v * kVectorLanes);
    const IntVec sees = (column >= begin) & (column < end);
    return sees ? score : splat<kVectorLanes>(kMinusInfinity);
  };
  Vec top[kTwo], alpha[kTwo], base[kTwo], sum[kTwo];
#pragma GCC unroll 2
  for (int v = 0; v < kTwo; ++v) top[v] = splat<kVectorLanes>(kMinusInfinity);
  for (int column = 0; column < columns; ++column) {
#pragma GCC unroll 2
    for (int v = 0; v < kTwo; ++v) {
      const Vec score = score_at(column, v);
      top[v] = larger(score, top[v]);
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < kTwo; ++v) {
    const Vec before = load<kVectorLanes>(block.m + v * kVectorLanes);
    const Vec here = top[v] * block.scale;
    const Vec now = larger(before, here);
    // Nothing seen yet and nothing to see here: (-inf) - (-inf) must not be evaluated.
    base[v] = (now == kMinusInfinity ? Vec{} : now) * kLog2E;
    alpha[v] = before == kMinusInfinity ? Vec{} : exp2_nonpositive(before * kLog2E - base[v]);
    // A maximum that stays must not change a bit, whatever the multiplication by log2(e) rounds.
    alpha[v] = before == now ? splat<kVectorLanes>(1.0f) : alpha[v];
    store<kVectorLanes>(block.m + v * kVectorLanes, now);
    sum[v] = load<kVectorLanes>(block.l + v * kVectorLanes) * alpha[v];
  }
  rescale(block, alpha);
  const float factor = block.scale * kLog2E;
  const auto probability = [&](int column, int v) {
    const Vec score = score_at(column, v);
    const Vec p = exp2_nonpositive(score * factor - base[v]);
    if constexpr (!kMasked) return p;
    return score == kMinusInfinity ? Vec{} : p;
  };
  const int padded = (columns + kDepth - 1) / kDepth * kDepth;
  for (int column = 0; column < padded; column += 2) {
#pragma GCC unroll 2
    for (int v = 0; v < kTwo; ++v) {
      const Vec even = column < columns ? probability(column, v) : Vec{};
      const Vec odd = column + 1 < columns ? probability(column + 1, v) : Vec{};
      sum[v] += even;
      sum[v] += odd;
      auto* to = scratch.p + v * kTileColumns * kVectorLanes + column * kVectorLanes;
      *reinterpret_cast<WordVec*>(to) = pairs(even, odd);
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < kTwo; ++v) store<kVectorLanes>(block.l + v * kVectorLanes, sum[v]);
}

inline void matrix_soften(const MatrixBlock& block, int columns, const LaneColumns& seen,
                          const MatrixScratch& scratch) {
  if (seen.end) {
    soften_block<true>(block, columns, seen, scratch);
  } else {
    soften_block<false>(block, columns, seen, scratch);
  }
}

/// What pack_keys() left out of the values, for the rows that see it.
inline void add_wild(const MatrixBlock& block, const KeyTile& keys, std::uint64_t wild,
                     const MatrixScratch& scratch) {
  for (int column = 0; column < keys.columns; ++column) {
    if (!(wild >> column & 1)) continue;
    for (int lane = 0; lane < kMatrixLanes; ++lane) {
      const std::uint16_t* at = scratch.p + lane / kVectorLanes * kTileColumns * kVectorLanes +
                                column / 2 * kDepth + lane % kVectorLanes * 2 + column % 2;
      float p;
      widen_bfloat16(at, 1, &p);
      if (p == 0) continue;
      for (int d = 0; d < block.head_dim; ++d) {
        block.acc[d * kMatrixLanes + lane] += p * keys.v[column][d];
      }
    }
  }
}

template <typename Unit>
void matrix_accumulate(const MatrixBlock& block, const KeyTile& keys, const PackedKeys& packed,
                       const MatrixScratch& scratch) {
  const int depth = padded_head(block.head_dim);
  constexpr int kLaneTile = kTileColumns * kVectorLanes;
  for (int d = 0; d < depth; d += 2 * kTileRows) {
    float* acc = block.acc + d * kMatrixLanes;
    load_sums<Unit>(acc);
    for (int column = 0; column < keys.columns; column += kDepth) {
      multiply_tiles<Unit>(packed.v + d * kTileColumns + column, kTileColumns * 2,
                           scratch.p + column * kVectorLanes, kLaneTile);
    }
    store_sums<Unit>(acc);
  }
  if (packed.wild) add_wild(block, keys, packed.wild, scratch);
}

template <typename Unit>
constexpr MatrixKernels matrix_kernels() {
  return {Unit::start,        Unit::stop,    pack_keys,
          matrix_score<Unit>, matrix_soften, matrix_accumulate<Unit>};
}

}  // namespace
}  // namespace longspan

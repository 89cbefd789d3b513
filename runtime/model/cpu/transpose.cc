#include "runtime/model/cpu/transpose.h"

#include <algorithm>

#include "runtime/model/cpu/vectorise.h"

namespace longspan {
namespace {

constexpr int kTile = 8;   // floats of a vector
constexpr int kHalf = 4;   // floats that every x86-64 can store past its caches
constexpr int kLine = 16;  // floats of a cache line
typedef float Floats __attribute__((vector_size(32)));
typedef float Half __attribute__((vector_size(16)));
typedef float UnalignedFloats __attribute__((vector_size(32), may_alias, aligned(alignof(float))));
typedef float UnalignedHalf __attribute__((vector_size(16), may_alias, aligned(alignof(float))));

/// Past the caches: lines that will be written whole are not fetched first, and push nothing out.
struct Streamed {
  [[gnu::always_inline]] static void store(float* to, Half values) {
#if defined(__x86_64__)
    __builtin_ia32_movntps(to, values);
#else
    *reinterpret_cast<UnalignedHalf*>(to) = values;
#endif
  }
};

struct Cached {
  [[gnu::always_inline]] static void store(float* to, Half values) {
    *reinterpret_cast<UnalignedHalf*>(to) = values;
  }
};

/// Of 8 x 8 values: rows are interleaved by ones, then by pairs, and stored by halves.
template <typename To>
[[gnu::always_inline]] inline void transpose_tile(const float* from, std::int64_t from_stride,
                                                  float* to, std::int64_t to_stride) {
  Floats row[kTile], pair[kTile], quad[kTile];
#pragma GCC unroll 8
  for (int r = 0; r < kTile; ++r) {
    row[r] = *reinterpret_cast<const UnalignedFloats*>(from + r * from_stride);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kTile; r += 2) {
    pair[r] = __builtin_shufflevector(row[r], row[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pair[r + 1] = __builtin_shufflevector(row[r], row[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int r = 0; r < kTile; r += 4) {
    for (int i = 0; i < 2; ++i) {
      const Floats a = pair[r + i], b = pair[r + i + 2];
      quad[r + 2 * i] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      quad[r + 2 * i + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < kHalf; ++c) {
    const Floats a = quad[c], b = quad[c + kHalf];
    To::store(to + c * to_stride, __builtin_shufflevector(a, a, 0, 1, 2, 3));
    To::store(to + c * to_stride + kHalf, __builtin_shufflevector(b, b, 0, 1, 2, 3));
    To::store(to + (c + kHalf) * to_stride, __builtin_shufflevector(a, a, 4, 5, 6, 7));
    To::store(to + (c + kHalf) * to_stride + kHalf, __builtin_shufflevector(b, b, 4, 5, 6, 7));
  }
}

/// All rows of a few columns at a time: what is written lies together, and two tiles in turn make
/// whole lines of it.
template <typename To>
[[gnu::always_inline]] inline void transpose_tiles(const float* from, std::int64_t rows,
                                                   std::int64_t columns, std::int64_t from_stride,
                                                   float* to, std::int64_t to_stride) {
  for (std::int64_t c = 0; c < columns; c += kTile) {
    for (std::int64_t r = 0; r < rows; r += kTile) {
      transpose_tile<To>(from + r * from_stride + c, from_stride, to + c * to_stride + r,
                         to_stride);
    }
  }
}

bool in_whole_lines(const float* to, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(to) % (kLine * sizeof(float)) == 0 && stride % kLine == 0;
}

}  // namespace

void transpose(const float* from, std::int64_t rows, std::int64_t columns, std::int64_t from_stride,
               float* to, std::int64_t to_stride) {
  const bool streamed = in_whole_lines(to, to_stride);
  vectorised([=]() LONGSPAN_INLINE_BODY {
    const std::int64_t whole_rows = rows / kTile * kTile;
    const std::int64_t whole_columns = columns / kTile * kTile;
    if (streamed) {
      transpose_tiles<Streamed>(from, whole_rows, whole_columns, from_stride, to, to_stride);
    } else {
      transpose_tiles<Cached>(from, whole_rows, whole_columns, from_stride, to, to_stride);
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) {
        to[c * to_stride + r] = from[r * from_stride + c];
      }
    }
  });
  // Before whatever tells another thread that the values are there; nothing else orders these.
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

}  // namespace longspan

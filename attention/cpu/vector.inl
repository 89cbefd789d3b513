// Vectors of W floats, and e^x of them.
//
// Included once per instruction set, like the kernels built on it. Everything is in an anonymous
// namespace and nothing of the standard library is used, so that no code compiled for one
// instruction set is ever linked into the callers of another.
#pragma once

#include <cstdint>

namespace longspan {
namespace {

template <int W>
struct Vector {
  typedef float Floats __attribute__((vector_size(W * sizeof(float)), may_alias));
  typedef float Unaligned
      __attribute__((vector_size(W * sizeof(float)), may_alias, aligned(alignof(float))));
  typedef std::int32_t Ints __attribute__((vector_size(W * sizeof(float)), may_alias));
  typedef std::uint32_t Words __attribute__((vector_size(W * sizeof(float)), may_alias));
};
template <int W>
using Floats = typename Vector<W>::Floats;
template <int W>
using Ints = typename Vector<W>::Ints;

template <int W>
[[gnu::always_inline]] inline Floats<W> load(const float* from) {
  return *reinterpret_cast<const Floats<W>*>(from);
}

template <int W>
[[gnu::always_inline]] inline void store(float* to, Floats<W> value) {
  *reinterpret_cast<Floats<W>*>(to) = value;
}

template <int W>
[[gnu::always_inline]] inline Floats<W> load_unaligned(const float* from) {
  return *reinterpret_cast<const typename Vector<W>::Unaligned*>(from);
}

template <int W>
[[gnu::always_inline]] inline void store_unaligned(float* to, Floats<W> value) {
  *reinterpret_cast<typename Vector<W>::Unaligned*>(to) = value;
}

template <int W>
[[gnu::always_inline]] inline Floats<W> splat(float value) {
  return value -
         Floats<W>{};  // subtracting zero keeps every value, -0 too; compiles to a broadcast
}

template <int W>
[[gnu::always_inline]] inline Ints<W> bits(Floats<W> value) {
  return reinterpret_cast<Ints<W>>(value);
}

template <int W>
[[gnu::always_inline]] inline Floats<W> from_bits(Ints<W> value) {
  return reinterpret_cast<Floats<W>>(value);
}

/// The quarters of four lanes folded into one by `fold`, of two vectors.
template <int W, typename Fold>
[[gnu::always_inline]] inline Floats<4> fold_quarters(Floats<W> value, const Fold& fold) {
  static_assert(W == 4 || W == 8 || W == 16);
  if constexpr (W == 4) {
    return value;
  } else if constexpr (W == 8) {
    const Floats<4> low = __builtin_shufflevector(value, value, 0, 1, 2, 3);
    const Floats<4> high = __builtin_shufflevector(value, value, 4, 5, 6, 7);
    return fold(low, high);
  } else {
    const Floats<8> low = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7);
    const Floats<8> high = __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
    return fold_quarters<8>(fold(low, high), fold);
  }
}

/// All lanes folded into one number.
template <int W, typename Fold>
[[gnu::always_inline]] inline float fold_lanes(Floats<W> value, const Fold& fold) {
  const Floats<4> quarter = fold_quarters<W>(value, fold);
  const Floats<4> pairs = fold(quarter, __builtin_shufflevector(quarter, quarter, 2, 3, 0, 1));
  return fold(pairs, __builtin_shufflevector(pairs, pairs, 1, 0, 3, 2))[0];
}

constexpr float kMinusInfinity = -__builtin_inff();

/// e^x for x <= 0, within 2e-7 relative; 0 below -87, where floats near the smallest normal one.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves n in the
/// low mantissa bits, from where a shift takes it to the exponent. ln 2 comes in two parts so that
/// r keeps its last bits. The polynomial is 1 + r + r^2 (...), its coefficients minimax for
/// relative error (1.06e-7, derived by Lawson's iteration), so that e^0 is exactly 1.
template <int W>
[[gnu::always_inline]] inline Floats<W> exp_nonpositive(Floats<W> x) {
  constexpr float kRound = 12582912.0f;
  const Floats<W> shifted = x * 1.44269504f + kRound;
  const Floats<W> n = shifted - kRound;
  const Floats<W> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats<W> p = r * 0.008312437753f + 0.04189099572f;
  p = p * r + 0.1666711811f;
  p = p * r + 0.4999922579f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // Below -87 this wraps around, which only unsigned integers may; the result is not used then.
  using Words = typename Vector<W>::Words;
  const Words exponent = reinterpret_cast<Words>(shifted) << 23;
  const auto scaled = reinterpret_cast<Floats<W>>(reinterpret_cast<Words>(p) + exponent);
  return x < -87.0f ? Floats<W>{} : scaled;
}

}  // namespace
}  // namespace longspan

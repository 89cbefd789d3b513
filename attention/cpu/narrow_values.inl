// Between float32 and narrow values, as wide as the instruction set converts.
//
// Included once per instruction set, like vector.inl.
#pragma once

#ifdef __F16C__
#include <immintrin.h>
#endif

#include <cstdint>

namespace longspan {
namespace {

constexpr float kLargestHalf = 65504;

inline void widen_bfloat16(const std::uint16_t* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = std::uint32_t{from[i]} << 16;
    __builtin_memcpy(to + i, &bits, sizeof bits);
  }
}

inline void narrow_bfloat16(const float* from, std::int64_t count, std::uint16_t* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, from + i, sizeof bits);
    const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;  // rounding could make it an infinity
    const std::uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);  // ties to even
    to[i] = static_cast<std::uint16_t>((is_nan ? bits | 0x400000u : rounded) >> 16);
  }
}

inline void widen_float16(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
#endif
  for (; i < count; ++i) {
    _Float16 half;
    __builtin_memcpy(&half, from + i, sizeof half);
    to[i] = static_cast<float>(half);
  }
}

inline void narrow_float16(const float* from, std::int64_t count, std::uint16_t* to) {
  std::int64_t i = 0;
#ifdef __F16C__
  const __m256 most = _mm256_set1_ps(kLargestHalf), least = _mm256_set1_ps(-kLargestHalf);
  for (; i + 8 <= count; i += 8) {
    // Of two operands of which one is NaN, min and max give the second.
    const __m256 value = _mm256_loadu_ps(from + i);
    const __m256 held = _mm256_max_ps(least, _mm256_min_ps(most, value));
    const __m128i halves = _mm256_cvtps_ph(held, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
#endif
  for (; i < count; ++i) {
    const float value = from[i];
    const _Float16 half = static_cast<_Float16>(value > kLargestHalf    ? kLargestHalf
                                                : value < -kLargestHalf ? -kLargestHalf
                                                                        : value);
    __builtin_memcpy(to + i, &half, sizeof half);
  }
}

/// Magnitudes of bfloat16 are in the order of their bits, with what is not finite at the end.
inline std::uint16_t largest_magnitude(const std::uint16_t* bfloat16, std::int64_t count) {
  std::uint16_t most = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto magnitude = static_cast<std::uint16_t>(bfloat16[i] & 0x7fffu);
    most = magnitude > most ? magnitude : most;
  }
  return most;
}

inline float narrow_bfloat16_to_int8(const std::uint16_t* from, std::int64_t count,
                                     std::int8_t* to) {
  constexpr std::uint16_t kInfinite = 0x7f80;
  constexpr float kRound = 12582912.0f;  // added, it leaves an integer, ties to even, in low bits
  const std::uint16_t most = largest_magnitude(from, count);
  if (most == 0 || most >= kInfinite) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = 0;
    return most == 0 ? 0 : __builtin_nanf("");
  }
  float scale;
  widen_bfloat16(&most, 1, &scale);
  scale /= 127;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = std::uint32_t{from[i]} << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    const float shifted = value / scale + kRound;
    std::int32_t integer;
    __builtin_memcpy(&integer, &shifted, sizeof integer);
    to[i] = static_cast<std::int8_t>(integer);
  }
  return scale;
}

inline void widen_int8_by(const std::int8_t* from, std::int64_t count, float scale, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = scale * static_cast<float>(from[i]);
}

}  // namespace
}  // namespace longspan

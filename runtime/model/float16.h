// float16 as model files hold it, widened exactly.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace longspan {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// Exact, also under flush-to-zero: no operand is ever a subnormal float.
inline float from_half(std::uint16_t half) {
  constexpr std::uint32_t kRebias = (127 - 15) << 23;
  const std::uint32_t sign = std::uint32_t{half} >> 15 << 31;
  const std::uint32_t magnitude = std::uint32_t{half} << 17 >> 4;  // float32's fields
  const std::uint32_t exponent = magnitude >> 23;
  std::uint32_t bits = magnitude + kRebias;
  if (exponent == 31) {  // infinity, NaN
    bits += kRebias;
  } else if (exponent == 0) {  // zero, subnormal: give it a leading one, and take it off again
    constexpr std::uint32_t kSmallestNormal = kRebias + (1 << 23);
    bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits + (1 << 23)) -
                                        std::bit_cast<float>(kSmallestNormal));
  }
  return std::bit_cast<float>(sign | bits);
}

inline float half_at(const std::byte* from) { return from_half(load<std::uint16_t>(from)); }

}  // namespace longspan

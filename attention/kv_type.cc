#include "attention/kv_type.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "comm/error.h"

namespace longspan {
namespace {

constexpr float kLargestHalf = 65504;

std::uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);  // ties to even
}

float from_bfloat16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// std::clamp lets a NaN through, which stays one.
std::uint16_t to_half(float value) {
  const auto half = static_cast<_Float16>(std::clamp(value, -kLargestHalf, kLargestHalf));
  return std::bit_cast<std::uint16_t>(half);
}

float from_half(std::uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }

template <std::uint16_t (*kConvert)(float)>
void narrow_each(const float* from, std::int64_t count, std::uint16_t* to) {
  std::transform(from, from + count, to, kConvert);
}

template <float (*kConvert)(std::uint16_t)>
void widen_each(const std::uint16_t* from, std::int64_t count, float* to) {
  std::transform(from, from + count, to, kConvert);
}

}  // namespace

void narrow(KvType type, const float* from, std::int64_t count, void* to) {
  switch (type) {
    case KvType::kFloat32:
      std::memcpy(to, from, sizeof(float) * count);
      return;
    case KvType::kFloat16:
      narrow_each<to_half>(from, count, static_cast<std::uint16_t*>(to));
      return;
    case KvType::kBFloat16:
      narrow_each<to_bfloat16>(from, count, static_cast<std::uint16_t*>(to));
      return;
    case KvType::kInt8:
      expects(false, "int8 values have a scale");
  }
}

void widen(KvType type, const void* from, std::int64_t count, float* to) {
  switch (type) {
    case KvType::kFloat32:
      std::memcpy(to, from, sizeof(float) * count);
      return;
    case KvType::kFloat16:
      widen_each<from_half>(static_cast<const std::uint16_t*>(from), count, to);
      return;
    case KvType::kBFloat16:
      widen_each<from_bfloat16>(static_cast<const std::uint16_t*>(from), count, to);
      return;
    case KvType::kInt8:
      expects(false, "int8 values have a scale");
  }
}

float narrow_to_int8(const std::uint16_t* from, std::int64_t count, std::int8_t* to) {
  float most = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::abs(from_bfloat16(from[i]));
    finite = finite && std::isfinite(magnitude);
    most = std::max(most, magnitude);
  }
  const float scale = finite ? most / 127 : std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t i = 0; i < count; ++i) {
    const bool zero = !finite || most == 0;
    to[i] = zero ? 0 : static_cast<std::int8_t>(std::nearbyint(from_bfloat16(from[i]) / scale));
  }
  return scale;
}

void widen_int8(const std::int8_t* from, std::int64_t count, float scale, float* to) {
  std::transform(from, from + count, to, [scale](std::int8_t value) { return scale * value; });
}

}  // namespace longspan

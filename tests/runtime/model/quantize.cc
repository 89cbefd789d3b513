// quantize() of gguf_writer.h: plain, for tests only.
#include <algorithm>
#include <bit>
#include <cmath>

#include "comm/error.h"
#include "tests/runtime/model/gguf_writer.h"

namespace longspan::test {
namespace {

constexpr std::size_t kBlock = 32;

void put(std::vector<std::byte>& out, std::uint16_t bits) {
  out.push_back(static_cast<std::byte>(bits & 0xff));
  out.push_back(static_cast<std::byte>(bits >> 8));
}

/// The nearest float16; magnitudes below the smallest normal become zero.
std::uint16_t to_half(float value) {
  const int sign = std::signbit(value) ? 0x8000 : 0;
  int exponent = 0;
  const float fraction = std::frexp(std::fabs(value), &exponent);                   // [0.5, 1)
  const int mantissa = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));  // 1024..2048
  if (value == 0 || exponent < -13) return static_cast<std::uint16_t>(sign);
  expects(exponent <= 15, "the value fits a float16");
  // A mantissa that rounded up to 2048 carries into the exponent by itself.
  return static_cast<std::uint16_t>(sign | ((exponent + 14) * 1024 + mantissa - 1024));
}

float half_value(std::uint16_t bits) {
  if ((bits & 0x7fff) == 0) return 0;
  const float magnitude =
      std::ldexp(static_cast<float>((bits & 0x3ff) + 1024), (bits >> 10 & 31) - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

int step(float value, float zero, float scale, int low, int high) {
  const float steps = scale == 0 ? 0 : std::nearbyint((value - zero) / scale);
  return std::clamp(static_cast<int>(steps), low, high);
}

void put_nibbles(std::vector<std::byte>& out, std::span<const float> block, float zero, float scale,
                 int bias) {
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    const int low = step(block[i], zero, scale, -bias, 15 - bias) + bias;
    const int high = step(block[i + kBlock / 2], zero, scale, -bias, 15 - bias) + bias;
    out.push_back(static_cast<std::byte>(low | high << 4));
  }
}

float largest(std::span<const float> block) {
  float magnitude = 0;
  for (const float value : block) magnitude = std::max(magnitude, std::fabs(value));
  return magnitude;
}

void put_q8_0(std::vector<std::byte>& out, std::span<const float> block) {
  const std::uint16_t scale = to_half(largest(block) / 127);
  put(out, scale);
  for (const float value : block) {
    out.push_back(static_cast<std::byte>(step(value, 0, half_value(scale), -127, 127)));
  }
}

void put_q4_0(std::vector<std::byte>& out, std::span<const float> block) {
  const std::uint16_t scale = to_half(largest(block) / 7);
  put(out, scale);
  put_nibbles(out, block, 0, half_value(scale), 8);
}

void put_q4_1(std::vector<std::byte>& out, std::span<const float> block) {
  const auto [low, high] = std::ranges::minmax(block);
  const std::uint16_t scale = to_half((high - low) / 15), minimum = to_half(low);
  put(out, scale);
  put(out, minimum);
  put_nibbles(out, block, half_value(minimum), half_value(scale), 0);
}

}  // namespace

std::vector<std::byte> quantize(TensorType type, std::span<const float> values) {
  expects(values.size() % static_cast<std::size_t>(block_values(type)) == 0, "whole blocks");
  std::vector<std::byte> out;
  const auto each_block = [&](auto put_block) {
    for (std::size_t i = 0; i < values.size(); i += kBlock)
      put_block(out, values.subspan(i, kBlock));
  };
  switch (type) {
    case TensorType::kF32:
      out.resize(values.size_bytes());
      std::ranges::copy(std::as_bytes(values), out.begin());
      break;
    case TensorType::kF16:
      for (const float value : values) put(out, to_half(value));
      break;
    case TensorType::kBF16:
      for (const float value : values) {
        put(out, static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(value) + 0x8000) >> 16));
      }
      break;
    case TensorType::kQ8_0:
      each_block(put_q8_0);
      break;
    case TensorType::kQ4_0:
      each_block(put_q4_0);
      break;
    case TensorType::kQ4_1:
      each_block(put_q4_1);
      break;
  }
  return out;
}

}  // namespace longspan::test

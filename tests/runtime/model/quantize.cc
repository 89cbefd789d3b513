// quantize() of gguf_writer.h: plain, for tests only.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "comm/error.h"
#include "tests/runtime/model/gguf_writer.h"

namespace longspan::test {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kKBlock = 256;

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

/// Nibbles and fifth bits of 32 steps from 0 to 31.
void put_five_bits(std::vector<std::byte>& out, std::span<const float> block, float zero,
                   float scale, int bias) {
  std::uint32_t fifth = 0;
  std::array<int, kBlock> steps{};
  for (std::size_t i = 0; i < kBlock; ++i) {
    steps[i] = step(block[i], zero, scale, -bias, 31 - bias) + bias;
    fifth |= static_cast<std::uint32_t>(steps[i] >> 4) << i;
  }
  for (int byte = 0; byte < 4; ++byte) out.push_back(static_cast<std::byte>(fifth >> 8 * byte));
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    out.push_back(static_cast<std::byte>((steps[i] & 15) | (steps[i + kBlock / 2] & 15) << 4));
  }
}

void put_q5_0(std::vector<std::byte>& out, std::span<const float> block) {
  const std::uint16_t scale = to_half(largest(block) / 15);
  put(out, scale);
  put_five_bits(out, block, 0, half_value(scale), 16);
}

void put_q5_1(std::vector<std::byte>& out, std::span<const float> block) {
  const auto [low, high] = std::ranges::minmax(block);
  const std::uint16_t scale = to_half((high - low) / 31), minimum = to_half(low);
  put(out, scale);
  put(out, minimum);
  put_five_bits(out, block, half_value(minimum), half_value(scale), 0);
}

/// Q4_K and Q5_K: groups of one scale and one minimum, that of the block; tests need no finer ones.
void put_k(std::vector<std::byte>& out, std::span<const float> block, bool fifth_bits) {
  const auto [low, high] = std::ranges::minmax(block);
  const float floor = std::min(low, 0.0f);
  const int most = fifth_bits ? 31 : 15;
  const std::uint16_t scale = to_half((high - floor) / static_cast<float>(most) / 63);
  const std::uint16_t minimum = to_half(-floor / 63);
  put(out, scale);
  put(out, minimum);
  for (int i = 0; i < 12; ++i) out.push_back(std::byte{0xff});  // 63 everywhere
  std::array<int, kKBlock> steps{};
  for (std::size_t i = 0; i < kKBlock; ++i) {
    steps[i] = step(block[i], -63 * half_value(minimum), 63 * half_value(scale), 0, most);
  }
  for (std::size_t i = 0; fifth_bits && i < kBlock; ++i) {
    int bits = 0;
    for (std::size_t group = 0; group < 8; ++group) {
      bits |= (steps[group * kBlock + i] >> 4) << group;
    }
    out.push_back(static_cast<std::byte>(bits));
  }
  for (std::size_t i = 0; i < kKBlock / 2; ++i) {
    const std::size_t low_value = i / kBlock * 2 * kBlock + i % kBlock;
    out.push_back(
        static_cast<std::byte>((steps[low_value] & 15) | (steps[low_value + kBlock] & 15) << 4));
  }
}

void put_q6_k(std::vector<std::byte>& out, std::span<const float> block) {
  constexpr int kScale = 100;
  const std::uint16_t d = to_half(largest(block) / 31 / kScale);
  std::array<int, kKBlock> steps{};
  for (std::size_t i = 0; i < kKBlock; ++i) {
    steps[i] = step(block[i], 0, kScale * half_value(d), -32, 31) + 32;
  }
  const auto value = [&](std::size_t half, std::size_t quarter, std::size_t i) {
    return steps[half * kKBlock / 2 + quarter * kBlock + i];
  };
  for (std::size_t i = 0; i < kKBlock / 2; ++i) {
    const std::size_t half = i / 64, quarter = i % 64 / kBlock, at = i % kBlock;
    out.push_back(static_cast<std::byte>((value(half, quarter, at) & 15) |
                                         (value(half, quarter + 2, at) & 15) << 4));
  }
  for (std::size_t i = 0; i < kKBlock / 4; ++i) {
    int bits = 0;
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
      bits |= (value(i / kBlock, quarter, i % kBlock) >> 4) << 2 * quarter;
    }
    out.push_back(static_cast<std::byte>(bits));
  }
  for (int i = 0; i < 16; ++i) out.push_back(std::byte{kScale});
  put(out, d);
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
    const auto block = static_cast<std::size_t>(block_values(type));
    for (std::size_t i = 0; i < values.size(); i += block) {
      put_block(out, values.subspan(i, block));
    }
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
    case TensorType::kQ5_0:
      each_block(put_q5_0);
      break;
    case TensorType::kQ5_1:
      each_block(put_q5_1);
      break;
    case TensorType::kQ4_K:
      each_block([](auto& to, std::span<const float> block) { put_k(to, block, false); });
      break;
    case TensorType::kQ5_K:
      each_block([](auto& to, std::span<const float> block) { put_k(to, block, true); });
      break;
    case TensorType::kQ6_K:
      each_block(put_q6_k);
      break;
  }
  return out;
}

}  // namespace longspan::test

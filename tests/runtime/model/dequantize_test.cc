#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "runtime/model/gguf.h"
#include "tests/runtime/model/gguf_writer.h"

namespace longspan {
namespace {

constexpr std::array kTypes{TensorType::kF32,  TensorType::kF16,  TensorType::kBF16,
                            TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0,
                            TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ4_K,
                            TensorType::kQ5_K, TensorType::kQ6_K};

/// A float16 by its definition.
double half(std::byte low, std::byte high) {
  const int bits = static_cast<int>(high) << 8 | static_cast<int>(low);
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) {
    return fraction ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  return exponent == 0 ? sign * std::ldexp(fraction, -24)
                       : sign * std::ldexp(1024 + fraction, exponent - 25);
}

int nibble(const std::byte* packed, std::size_t value) {
  const int pair = static_cast<int>(packed[value % 16]);
  return value < 16 ? pair & 15 : pair >> 4;
}

int bit(const std::byte* bytes, std::size_t i) {
  return static_cast<int>(bytes[i / 8]) >> i % 8 & 1;
}

/// Bits [first, first + count) of the 12 bytes of scales, lowest first: where a six-bit number lies
/// in pieces.
int bits(const std::byte* bytes, std::size_t first, std::size_t count) {
  int value = 0;
  for (std::size_t i = 0; i < count; ++i) value |= bit(bytes, first + i) << i;
  return value;
}

/// q * (d * s) - dmin * m of Q4_K and Q5_K, given q.
double with_group_scale(const std::byte* block, std::size_t group, int q) {
  const std::byte* const packed = block + 4;
  const std::size_t own = group % 4 * 8;
  const int scale =
      group < 4 ? bits(packed, own, 6) : bits(packed, 64 + own, 4) | bits(packed, own + 6, 2) << 4;
  const int minimum = group < 4 ? bits(packed, 32 + own, 6)
                                : bits(packed, 68 + own, 4) | bits(packed, 32 + own + 6, 2) << 4;
  return half(block[0], block[1]) * scale * q - half(block[2], block[3]) * minimum;
}

/// Nibble of value `i` of 256 in Q4_K and Q5_K.
int shared_nibble(const std::byte* packed, std::size_t i) {
  const int pair = static_cast<int>(packed[i / 64 * 32 + i % 32]);
  return i % 64 < 32 ? pair & 15 : pair >> 4;
}

double q6_k(const std::byte* block, std::size_t i) {
  const std::size_t in_half = i % 128;
  const int pair = static_cast<int>(block[i / 128 * 64 + in_half % 64]);
  const int low = in_half < 64 ? pair & 15 : pair >> 4;
  const int high = bits(block + 128, (i / 128 * 32 + in_half % 32) * 8 + in_half / 32 * 2, 2);
  const auto scale = static_cast<std::int8_t>(block[192 + i / 16]);
  return half(block[208], block[209]) * scale * ((low | high << 4) - 32);
}

/// Value `i` of a tensor, by the definition of its type, in double precision.
double reference(TensorType type, const std::byte* bytes, std::size_t i) {
  const std::byte* block = bytes + i / block_values(type) * byte_size(type, block_values(type));
  const std::size_t at = i % 32, in_block = i % static_cast<std::size_t>(block_values(type));
  switch (type) {
    case TensorType::kF32: {
      std::array<std::byte, 4> four{block[0], block[1], block[2], block[3]};
      return std::bit_cast<float>(four);
    }
    case TensorType::kF16:
      return half(block[0], block[1]);
    case TensorType::kBF16: {
      std::array<std::byte, 4> four{std::byte{0}, std::byte{0}, block[0], block[1]};
      return std::bit_cast<float>(four);
    }
    case TensorType::kQ4_0:
      return (nibble(block + 2, at) - 8) * half(block[0], block[1]);
    case TensorType::kQ4_1:
      return nibble(block + 4, at) * half(block[0], block[1]) + half(block[2], block[3]);
    case TensorType::kQ8_0:
      return static_cast<std::int8_t>(block[2 + at]) * half(block[0], block[1]);
    case TensorType::kQ5_0:
      return ((nibble(block + 6, at) | bit(block + 2, at) << 4) - 16) * half(block[0], block[1]);
    case TensorType::kQ5_1:
      return (nibble(block + 8, at) | bit(block + 4, at) << 4) * half(block[0], block[1]) +
             half(block[2], block[3]);
    case TensorType::kQ4_K:
      return with_group_scale(block, in_block / 32, shared_nibble(block + 16, in_block));
    case TensorType::kQ5_K:
      return with_group_scale(
          block, in_block / 32,
          shared_nibble(block + 48, in_block) | bit(block + 16, at * 8 + in_block / 32) << 4);
    case TensorType::kQ6_K:
      return q6_k(block, in_block);
  }
  return 0;
}

/// Equal after rounding to float, also in the sign of zero; any NaN equals any other.
void expect_same(TensorType type, const std::vector<std::byte>& bytes, std::size_t count) {
  std::vector<float> values(count, 12345.0f);
  dequantize(type, bytes, values);
  for (std::size_t i = 0; i < count; ++i) {
    const auto expected = static_cast<float>(reference(type, bytes.data(), i));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(values[i])) << name(type) << " value " << i;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected))
          << name(type) << " value " << i << ": " << values[i] << " for " << expected;
    }
  }
}

TEST(DequantizeTest, EveryHalfIsExact) {
  std::vector<std::byte> bytes;
  for (int bits = 0; bits < 65536; ++bits) {
    bytes.push_back(static_cast<std::byte>(bits & 255));
    bytes.push_back(static_cast<std::byte>(bits >> 8));
  }
  expect_same(TensorType::kF16, bytes, 65536);
  expect_same(TensorType::kBF16, bytes, 65536);
}

TEST(DequantizeTest, RandomBytesOfEveryTypeEqualTheDefinition) {
  std::mt19937 random(7);
  for (const TensorType type : kTypes) {
    for (const std::int64_t blocks : {0, 1, 3, 1000}) {
      const std::int64_t count = blocks * block_values(type);
      std::vector<std::byte> bytes(byte_size(type, count));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      expect_same(type, bytes, static_cast<std::size_t>(count));
    }
  }
}

TEST(DequantizeTest, TheTestsOwnQuantizerComesBackWithinHalfAStep) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(1280), back(1280);
  for (float& value : values) value = uniform(random);
  for (const TensorType type : kTypes) {
    dequantize(type, test::quantize(type, values), back);
    const bool few_bits = name(type).starts_with("Q4") || name(type).starts_with("Q5");
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(back[i], values[i], few_bits ? 0.1 : 0.05) << name(type);
    }
  }
}

TEST(DequantizeTest, TheWrongNumberOfBytesIsTheCallersMistake) {
  std::vector<std::byte> bytes(17);
  std::vector<float> values(32);
  EXPECT_THROW(dequantize(TensorType::kQ4_0, bytes, values), std::logic_error);
  EXPECT_THROW(byte_size(TensorType::kQ4_0, 31), std::logic_error);
}

}  // namespace
}  // namespace longspan

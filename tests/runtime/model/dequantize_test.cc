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
                            TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0};

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

/// Value `i` of a tensor, by the definition of its type, in double precision.
double reference(TensorType type, const std::byte* bytes, std::size_t i) {
  const std::byte* block = bytes + i / block_values(type) * byte_size(type, block_values(type));
  const std::size_t at = i % 32;
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
  std::vector<float> values(320), back(320);
  for (float& value : values) value = uniform(random);
  for (const TensorType type : kTypes) {
    dequantize(type, test::quantize(type, values), back);
    const bool four_bits = type == TensorType::kQ4_0 || type == TensorType::kQ4_1;
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(back[i], values[i], four_bits ? 0.08 : 0.005) << name(type);
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

// File forms of weights to float32 (gguf.h).
//
// A block of 32 quantised values, with a float16 scale d (and minimum m) in front:
//
//   Q8_0   d, 32 signed bytes q              q * d
//   Q4_0   d, 16 bytes                       (nibble - 8) * d
//   Q4_1   d, m, 16 bytes                    nibble * d + m
//
// Byte i of the 16 holds value i in its low nibble and value i + 16 in its high one. Every product
// is exact in float32 (at most 8 + 11 significant bits), so neither the order of operations nor a
// fused multiply-add can change a result.
#include <bit>
#include <cstring>

#include "comm/error.h"
#include "runtime/model/gguf.h"

namespace longspan {
namespace {

constexpr int kBlock = 32;
constexpr int kHalfBlock = kBlock / 2;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// Exact, also under flush-to-zero: no operand is ever a subnormal float.
float from_half(std::uint16_t half) {
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

float half_at(const std::byte* from) { return from_half(load<std::uint16_t>(from)); }

void from_f16(const std::byte* bytes, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = half_at(bytes + 2 * i);
}

void from_bf16(const std::byte* bytes, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(bytes + 2 * i)} << 16);
  }
}

void q8_0_block(const std::byte* block, float* values) {
  const float scale = half_at(block);
  for (int i = 0; i < kBlock; ++i) {
    values[i] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
  }
}

void nibbles(const std::byte* packed, float scale, int bias, float minimum, float* values) {
  for (int i = 0; i < kHalfBlock; ++i) {
    const int pair = static_cast<int>(packed[i]);
    values[i] = static_cast<float>((pair & 15) - bias) * scale + minimum;
    values[i + kHalfBlock] = static_cast<float>((pair >> 4) - bias) * scale + minimum;
  }
}

// -0.0 as the minimum of Q4_0: adding it changes no value, not even the sign of a zero.
void q4_0_block(const std::byte* block, float* values) {
  nibbles(block + 2, half_at(block), 8, -0.0f, values);
}

void q4_1_block(const std::byte* block, float* values) {
  nibbles(block + 4, half_at(block), 0, half_at(block + 2), values);
}

template <typename Block>
void by_blocks(const std::byte* bytes, std::size_t block_bytes, std::span<float> values,
               Block block) {
  for (std::size_t i = 0; i < values.size(); i += kBlock, bytes += block_bytes) {
    block(bytes, values.data() + i);
  }
}

}  // namespace

void dequantize(TensorType type, std::span<const std::byte> bytes, std::span<float> values) {
  expects(bytes.size() == byte_size(type, static_cast<std::int64_t>(values.size())),
          "as many bytes as the values need");
  switch (type) {
    case TensorType::kF32:
      if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
      return;
    case TensorType::kF16:
      return from_f16(bytes.data(), values);
    case TensorType::kBF16:
      return from_bf16(bytes.data(), values);
    case TensorType::kQ4_0:
      return by_blocks(bytes.data(), byte_size(type, kBlock), values, q4_0_block);
    case TensorType::kQ4_1:
      return by_blocks(bytes.data(), byte_size(type, kBlock), values, q4_1_block);
    case TensorType::kQ8_0:
      return by_blocks(bytes.data(), byte_size(type, kBlock), values, q8_0_block);
  }
}

}  // namespace longspan

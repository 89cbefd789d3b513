// File forms of weights to float32 (gguf.h).
//
// A block of 32 quantised values, with a float16 scale d (and minimum m) in front:
//
//   Q8_0   d, 32 signed bytes q              q * d
//   Q4_0   d, 16 bytes                       (nibble - 8) * d
//   Q4_1   d, m, 16 bytes                    nibble * d + m
//   Q5_0   d, 4 bytes, 16 bytes              (five bits - 16) * d
//   Q5_1   d, m, 4 bytes, 16 bytes           five bits * d + m
//
// Byte i of the 16 holds value i in its low nibble and value i + 16 in its high one; bit i of the
// four bytes is the fifth of value i. Blocks of 256 are in k_blocks.h. Every product
// is exact in float32 (at most 8 + 11 significant bits), so neither the order of operations nor a
// fused multiply-add can change a result.
#include <bit>
#include <cstring>

#include "comm/error.h"
#include "runtime/model/float16.h"
#include "runtime/model/gguf.h"
#include "runtime/model/k_blocks.h"

namespace longspan {
namespace {

constexpr int kBlock = 32;
constexpr int kHalfBlock = kBlock / 2;

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

// -0.0 as the minimum of Q4_0 and Q5_0: adding it changes no value, not even the sign of a zero.
void q4_0_block(const std::byte* block, float* values) {
  nibbles(block + 2, half_at(block), 8, -0.0f, values);
}

void q4_1_block(const std::byte* block, float* values) {
  nibbles(block + 4, half_at(block), 0, half_at(block + 2), values);
}

void five_bits(const std::byte* packed, float scale, int bias, float minimum, float* values) {
  const auto fifth = load<std::uint32_t>(packed);
  packed += sizeof fifth;
  for (int i = 0; i < kHalfBlock; ++i) {
    const int pair = static_cast<int>(packed[i]);
    const int low = (pair & 15) | static_cast<int>(fifth >> i & 1) << 4;
    const int high = pair >> 4 | static_cast<int>(fifth >> (i + kHalfBlock) & 1) << 4;
    values[i] = static_cast<float>(low - bias) * scale + minimum;
    values[i + kHalfBlock] = static_cast<float>(high - bias) * scale + minimum;
  }
}

void q5_0_block(const std::byte* block, float* values) {
  five_bits(block + 2, half_at(block), 16, -0.0f, values);
}

void q5_1_block(const std::byte* block, float* values) {
  five_bits(block + 4, half_at(block), 0, half_at(block + 2), values);
}

void by_blocks(TensorType type, const std::byte* bytes, std::span<float> values,
               void (*block)(const std::byte*, float*)) {
  const auto step = static_cast<std::size_t>(block_values(type));
  const std::size_t block_bytes = byte_size(type, block_values(type));
  for (std::size_t i = 0; i < values.size(); i += step, bytes += block_bytes) {
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
      return by_blocks(type, bytes.data(), values, q4_0_block);
    case TensorType::kQ4_1:
      return by_blocks(type, bytes.data(), values, q4_1_block);
    case TensorType::kQ8_0:
      return by_blocks(type, bytes.data(), values, q8_0_block);
    case TensorType::kQ5_0:
      return by_blocks(type, bytes.data(), values, q5_0_block);
    case TensorType::kQ5_1:
      return by_blocks(type, bytes.data(), values, q5_1_block);
    case TensorType::kQ4_K:
      return by_blocks(type, bytes.data(), values, q4_k_block);
    case TensorType::kQ5_K:
      return by_blocks(type, bytes.data(), values, q5_k_block);
    case TensorType::kQ6_K:
      return by_blocks(type, bytes.data(), values, q6_k_block);
  }
}

}  // namespace longspan

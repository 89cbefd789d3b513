// Blocks of 256 values in which groups of 32 or 16 have scales of their own, which a float16 of the
// block scales in turn:
//
//   Q4_K   d, dmin, 12 bytes of scales and minima, 128 bytes             q * (d * s) - dmin * m
//   Q5_K   d, dmin, 12 bytes of scales and minima, 32 of high bits, 128  likewise
//   Q6_K   128 bytes, 64 of high bits, 16 signed scales, d               (q - 32) * (d * s)
//
// Of these products each is exact in float32 (at most 11 + 8 + 6 significant bits, and a factor of
// 8 or 6 bits that uses its last one is a power of two); the difference is rounded once.
#pragma once

#include <cstddef>

namespace longspan {

inline constexpr int kKBlock = 256;

/// 256 values from the bytes of a block.
void q4_k_block(const std::byte* block, float* values);
void q5_k_block(const std::byte* block, float* values);
void q6_k_block(const std::byte* block, float* values);

}  // namespace longspan

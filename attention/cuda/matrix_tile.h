// How a tile of bfloat16 lies in shared memory for Hopper's matrix units, and the descriptors that
// tell them so. Plain arithmetic: tests read tiles back with it on a host.
//
// A tile of R rows and C columns is C / 64 slabs, one after the other; a slab is R rows of 128
// bytes. Within each eight rows the 16-byte pieces of row r are exchanged by XOR with r mod 8
// (TMA's 128-byte swizzle), so that neither rows nor columns meet in one bank:
//
//   slab s      row 0   | p0 p1 p2 p3 p4 p5 p6 p7 |      p: 8 columns
//   at s*R*128  row 1   | p1 p0 p3 p2 p5 p4 p7 p6 |
//               row 2   | p2 p3 p0 p1 p6 p7 p4 p5 | ...
//
// Tiles begin at a multiple of 1024 bytes: the exchange goes by address bits.
#pragma once

#include <cstdint>

namespace longspan {

inline constexpr int kSlabColumns = 64;
inline constexpr int kSlabRowBytes = 128;
/// Eight rows, after which the swizzle repeats.
inline constexpr int kSwizzleBytes = 8 * kSlabRowBytes;

constexpr int slab_bytes(int rows) { return rows * kSlabRowBytes; }
constexpr int matrix_tile_bytes(int rows, int columns) {
  return columns / kSlabColumns * slab_bytes(rows);
}

/// Where byte `offset` of an unswizzled tile lies in the swizzled one.
constexpr std::uint32_t swizzled(std::uint32_t offset) { return offset ^ ((offset >> 7 & 7) << 4); }

/// A shared memory address, and strides in bytes, as wgmma takes them: 128-byte swizzle.
constexpr std::uint64_t matrix_descriptor(std::uint32_t address, std::uint32_t leading,
                                          std::uint32_t stride) {
  return std::uint64_t{(address & 0x3FFFF) >> 4} | std::uint64_t{leading >> 4} << 16 |
         std::uint64_t{stride >> 4} << 32 | std::uint64_t{1} << 62;
}
/// The descriptor of the same layout `bytes` further on, a multiple of 16. Addresses stay below
/// 2^18, so that nothing carries into the next field.
constexpr std::uint64_t advanced(std::uint64_t descriptor, std::uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

/// Values that a matrix unit takes at once along the dimension that is summed over.
inline constexpr int kMatrixDepth = 16;

/// An operand whose rows are summed along (Q and K: scores sum over columns of both). Its leading
/// stride is not used under this swizzle.
constexpr std::uint64_t row_operand(std::uint32_t tile) {
  return matrix_descriptor(tile, 16, kSwizzleBytes);
}
/// From the tile's beginning to columns 16 step, 16 step + 1, ...
constexpr std::uint32_t row_operand_step(int rows, int step) {
  return static_cast<std::uint32_t>(step * kMatrixDepth / kSlabColumns * slab_bytes(rows) +
                                    step * kMatrixDepth % kSlabColumns * 2);
}

/// An operand that is summed over its rows (V: outputs sum over tokens). The leading stride goes
/// from slab to slab, the other from eight rows to the next eight.
constexpr std::uint64_t column_operand(std::uint32_t tile, int rows) {
  return matrix_descriptor(tile, static_cast<std::uint32_t>(slab_bytes(rows)), kSwizzleBytes);
}
/// From the tile's beginning to rows 16 step, 16 step + 1, ...
constexpr std::uint32_t column_operand_step(int step) {
  return static_cast<std::uint32_t>(step * kMatrixDepth * kSlabRowBytes);
}

// The accumulator of 64 rows: lane l of warp w of four holds, as value i, row
//   16 w + l div 4 + 8 (i div 2 mod 2)     column 8 (i div 4) + 2 (l mod 4) + i mod 2
constexpr int accumulator_row(int warp, int lane, int value) {
  return 16 * warp + lane / 4 + 8 * (value / 2 % 2);
}
constexpr int accumulator_column(int lane, int value) {
  return 8 * (value / 4) + 2 * (lane % 4) + value % 2;
}

}  // namespace longspan

// Hopper's matrix units and copy engine, emulated as the instruction set's manual describes them,
// against the descriptors that the kernel makes.
#include "attention/cuda/matrix_tile.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

namespace longspan {
namespace {

/// What a descriptor says, in bytes.
struct Decoded {
  std::uint32_t address, leading, stride, base_offset, swizzle;
};

Decoded decode(std::uint64_t word) {
  const auto field = [word](int bit, int width) {
    return static_cast<std::uint32_t>(word >> bit & ((std::uint64_t{1} << width) - 1));
  };
  return {field(0, 14) << 4, field(16, 14) << 4, field(32, 14) << 4, field(49, 3), field(62, 2)};
}

/// Where an instruction reads a value of its operand. Both canonical layouts are in units of 8
/// values of 16 bits, to whose byte addresses the swizzle is applied.
///   summed along rows (K-major):     8 rows 128 bytes apart, then `stride`
///   summed along columns (MN-major): 64 values in a row, then `leading`; 8 rows, then `stride`
std::uint32_t row_operand_address(const Decoded& d, int row, int depth) {
  return swizzled(d.address + row % 8 * 128 + row / 8 * d.stride + depth * 2);
}
std::uint32_t column_operand_address(const Decoded& d, int depth, int column) {
  return swizzled(d.address + depth % 8 * 128 + depth / 8 * d.stride + column % 64 * 2 +
                  column / 64 * d.leading);
}

/// Where the copy engine puts a value of a tile: boxes of 64 columns, one behind the other.
std::uint32_t copied_to(std::uint32_t tile, int rows, int row, int column) {
  return swizzled(tile + column / 64 * slab_bytes(rows) + row * 128 + column % 64 * 2);
}

constexpr int kRows = 128;
/// Of a ring of tiles in the memory of a multiprocessor.
constexpr std::uint32_t kTiles[] = {1024, 1024 + 5 * 32768, 1024 + 13 * 16384};

TEST(MatrixTile, DescriptorsHaveTheirFields) {
  const Decoded row = decode(row_operand(0x2A400));
  EXPECT_EQ(row.address, 0x2A400u);
  EXPECT_EQ(row.stride, 1024u);
  EXPECT_EQ(row.base_offset, 0u);
  EXPECT_EQ(row.swizzle, 1u);
  const Decoded column = decode(column_operand(0x2A400, 128));
  EXPECT_EQ(column.leading, 128u * 128);
  EXPECT_EQ(column.stride, 1024u);
  EXPECT_EQ(decode(advanced(row_operand(0x38000), 32768 - 32)).address, 0x38000u + 32768 - 32);
}

TEST(MatrixTile, RowOperandsFindWhatWasCopied) {
  for (std::uint32_t tile : kTiles) {
    for (int columns : {64, 128}) {
      for (int first_row : {0, 64}) {  // the second warpgroup's queries
        for (int step = 0; step < columns / kMatrixDepth; ++step) {
          const Decoded d = decode(advanced(advanced(row_operand(tile), slab_bytes(first_row)),
                                            row_operand_step(kRows, step)));
          for (int row = 0; row < kRows - first_row; ++row) {
            for (int depth = 0; depth < kMatrixDepth; ++depth) {
              ASSERT_EQ(row_operand_address(d, row, depth),
                        copied_to(tile, kRows, first_row + row, step * kMatrixDepth + depth));
            }
          }
        }
      }
    }
  }
}

TEST(MatrixTile, ColumnOperandsFindWhatWasCopied) {
  for (std::uint32_t tile : kTiles) {
    for (int columns : {64, 128}) {
      for (int step = 0; step < kRows / kMatrixDepth; ++step) {
        const Decoded d = decode(advanced(column_operand(tile, kRows), column_operand_step(step)));
        for (int depth = 0; depth < kMatrixDepth; ++depth) {
          for (int column = 0; column < columns; ++column) {
            ASSERT_EQ(column_operand_address(d, depth, column),
                      copied_to(tile, kRows, step * kMatrixDepth + depth, column));
          }
        }
      }
    }
  }
}

/// Boxes of fewer rows, as pages of 8 to 64 tokens need, lie where those of 128 would.
TEST(MatrixTile, BoxesMakeUpATile) {
  for (int box : {8, 16, 32, 64}) {
    for (int row = 0; row < kRows; ++row) {
      for (int column = 0; column < 128; ++column) {
        const std::uint32_t to = 1024 + row / box * box * 128;  // of the box in its slab
        EXPECT_EQ(
            swizzled(to + column / 64 * slab_bytes(kRows) + row % box * 128 + column % 64 * 2),
            copied_to(1024, kRows, row, column));
      }
    }
  }
}

TEST(MatrixTile, SwizzlingMovesPiecesInsideTheirRow) {
  for (std::uint32_t offset = 0; offset < 4096; ++offset) {
    EXPECT_EQ(swizzled(swizzled(offset)), offset);
    EXPECT_EQ(swizzled(offset) / 128, offset / 128);
    EXPECT_EQ(swizzled(offset) % 16, offset % 16);
  }
}

TEST(MatrixTile, AccumulatorsCoverTheirTileOnce) {
  for (int columns : {64, 128}) {
    std::set<std::pair<int, int>> found;
    for (int warp = 0; warp < 4; ++warp) {
      for (int lane = 0; lane < 32; ++lane) {
        for (int value = 0; value < columns / 2; ++value) {
          found.emplace(accumulator_row(warp, lane, value), accumulator_column(lane, value));
        }
      }
    }
    EXPECT_EQ(std::ssize(found), 64 * columns);
    EXPECT_EQ(*found.begin(), (std::pair{0, 0}));
    EXPECT_EQ(*found.rbegin(), (std::pair{63, columns - 1}));
  }
}

/// The manual's layout of a 64 x 16 operand in registers: word w of a lane holds rows lane / 4
/// (+ 8 for w = 1 and 3), columns 2 (lane % 4) and the next (+ 8 for w = 2 and 3).
TEST(MatrixTile, PackedScoresAreAnOperandOfTheNextProduct) {
  for (int warp = 0; warp < 4; ++warp) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int step = 0; step < kRows / kMatrixDepth; ++step) {
        for (int word = 0; word < 4; ++word) {
          for (int half = 0; half < 2; ++half) {
            const int score = 2 * (4 * step + word) + half;  // see take_weights()
            EXPECT_EQ(accumulator_row(warp, lane, score), 16 * warp + lane / 4 + 8 * (word % 2));
            EXPECT_EQ(accumulator_column(lane, score),
                      step * kMatrixDepth + 2 * (lane % 4) + half + 8 * (word / 2));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan

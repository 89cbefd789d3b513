// The seam to kernels that multiply by a unit for whole matrices: AMX, whose tiles hold 16 rows of
// 32 bfloat16 values or of 16 float32 sums.
//
// As in the kernels of compiled_kernels.h, query rows lie in lanes, so that a row's softmax never
// crosses lanes and both products read what they need as it lies:
//
//     scores (column, lane) = K (column, d) * Q (d, lane)          K: as in the pages, narrowed
//     acc    (d, lane)     += V' (d, column) * P (column, lane)    V': transposed
//
// The unit takes the right factor with two rows interleaved, (row / 2, lane, row % 2): queries are
// laid out so once per pass, probabilities as the softmax writes them. Head sizes are padded with
// zeros to whole tiles.
#pragma once

#include <cstdint>

#include "attention/cpu/compiled_kernels.h"

namespace longspan {

/// Lanes that go through a tile of keys together: two tiles of the unit.
inline constexpr int kMatrixLanes = 32;
/// Values of bfloat16 in a row of a tile: what head sizes are padded to.
inline constexpr int kMatrixDepth = 32;

constexpr int padded_head(int head_dim) {
  return (head_dim + kMatrixDepth - 1) / kMatrixDepth * kMatrixDepth;
}

/// Memory for a tile of keys as the unit reads it. Aligned to 64 bytes.
struct PackedKeys {
  std::uint16_t* k;  // (kTileColumns, padded head): zero behind the last column
  std::uint16_t* v;  // (padded head, kTileColumns): zero behind the last column
  /// Columns (bit i: column i) with a value that is not finite. It is zero in `v`, since 0 * NaN is
  /// NaN for rows that do not see it, and is added by itself for those that do.
  std::uint64_t wild = 0;
};

/// kMatrixLanes query rows and their running softmax. Aligned to 64 bytes.
struct MatrixBlock {
  int head_dim;
  float scale;
  const std::uint16_t* q;  // (2, padded head / 2, 16 lanes, 2)
  float* acc;              // (padded head, kMatrixLanes)
  float* m;                // (kMatrixLanes)
  float* l;                // (kMatrixLanes)
};

/// Room for one block's scores and probabilities. Aligned to 64 bytes.
struct MatrixScratch {
  float* scores;     // (kTileColumns, kMatrixLanes)
  std::uint16_t* p;  // (2, kTileColumns / 2, 16 lanes, 2)
};

struct MatrixKernels {
  /// Before and after the others, on each thread that calls them.
  void (*start)();
  void (*stop)();
  /// Narrows the tile. Nothing behind its last column is read.
  void (*pack_keys)(const KeyTile& keys, int head_dim, PackedKeys& packed);
  /// Folds the tile, which `packed` is made of, into the block, in three steps. Each reads what the
  /// one before has just written from another unit's stores, and waits for them: steps of other
  /// blocks belong between.
  void (*score)(const MatrixBlock& block, const PackedKeys& packed, int columns,
                const MatrixScratch& scratch);
  void (*soften)(const MatrixBlock& block, int columns, const LaneColumns& seen,
                 const MatrixScratch& scratch);
  void (*accumulate)(const MatrixBlock& block, const KeyTile& keys, const PackedKeys& packed,
                     const MatrixScratch& scratch);
};

}  // namespace longspan

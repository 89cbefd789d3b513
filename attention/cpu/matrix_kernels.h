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

/// Lanes of a tile of the unit.
inline constexpr int kTileLanes = 16;
/// Lanes that go through a tile of keys together, where there are many: two tiles of the unit.
inline constexpr int kMatrixLanes = 2 * kTileLanes;
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

/// A tile of keys that lie in bfloat16: as KeyTile, but nothing stands behind the last column.
struct HalfTile {
  const std::uint16_t* const* k;
  const std::uint16_t* const* v;
  int columns;  // 1 to kTileColumns
};

/// Query rows and their running softmax. Aligned to 64 bytes.
struct MatrixBlock {
  int lanes;  // kTileLanes or kMatrixLanes
  int head_dim;
  float scale;
  const std::uint16_t* q;  // (lanes / kTileLanes, padded head / 2, kTileLanes, 2)
  float* acc;              // (padded head, lanes)
  float* m;                // (lanes)
  float* l;                // (lanes)
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
  /// The same of keys that are narrow already.
  void (*pack_halves)(const HalfTile& keys, int head_dim, PackedKeys& packed);
  /// Folds the tile, which `packed` is made of, into the block, in three steps. (The tile itself is
  /// read only where a value of it is wild.) Each reads what the
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

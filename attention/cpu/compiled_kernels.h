// The seam between portable code and code compiled for one instruction set.
//
// Both sides see these plain structs and a function pointer, nothing else: an inline function that
// two translation units with different flags share could reach a machine in its wrong version.
//
// For many rows, query rows lie in the lanes of vectors and keys are broadcast, the transpose of
// the usual choice:
//
//     scores (column, lane) = sum over d of k[column][d] * q (d, lane)       lane: one query head
//     acc    (d, lane)     += sum over columns of v[column][d] * p (column, lane)       of one row
//
// so K and V are read in place, one pointer per column: pages of any size cost the same, nothing is
// packed, and the softmax of a row never crosses lanes.
#pragma once

#include <cstdint>

namespace longspan {

/// Columns of one tile. 64 keys and values of 64 floats are 32 KiB: they stay in the L2 cache, and
/// mostly in L1, while every lane block of the row tile visits them.
inline constexpr int kTileColumns = 64;
/// Vectors in a full lane block. Three vectors by four broadcasts are twelve accumulators, which
/// with their operands fill AVX2's sixteen registers.
inline constexpr int kBlockVectors = 3;

/// Pointers to rows of head_dim values, kTileColumns of them: behind `columns` the last one
/// repeats, so that kernels may work on several columns at a time.
template <typename Value>
struct TileOf {
  const Value* const* k;
  const Value* const* v;
  int columns;  // 1 to kTileColumns
};
using KeyTile = TileOf<float>;
using BFloat16Tile = TileOf<std::uint16_t>;

/// Columns [begin[i], end[i]) of a tile are what lane i sees; null when all lanes see all columns.
/// Aligned to the vector size.
struct LaneColumns {
  const std::int32_t* begin = nullptr;
  const std::int32_t* end = nullptr;
};

/// Running softmax of `vectors` vectors of query rows, transposed. Aligned to the vector size.
struct LaneBlock {
  int vectors;  // 1 to kBlockVectors; lanes = vectors * width
  int head_dim;
  const float* q;  // (head_dim, lanes), scaled
  float* acc;      // (head_dim, lanes)
  float* m;        // (lanes)
  float* l;        // (lanes)
};

/// Running softmax of one row's query heads of one KV head.
struct HeadBlock {
  int heads;
  int head_dim;
  const float* q;  // (heads, head_dim), scaled
  float* acc;      // (heads, head_dim)
  float* m;        // (heads)
  float* l;        // (heads)
};

/// Between float32 and a narrow type, as widen() and narrow() of kv_type.h but fast.
struct ValueConversion {
  void (*widen)(const std::uint16_t* from, std::int64_t count, float* to);
  void (*narrow)(const float* from, std::int64_t count, std::uint16_t* to);
};

/// As widen_int8() and narrow_to_int8() of kv_type.h but fast.
struct Int8Conversion {
  void (*widen)(const std::int8_t* from, std::int64_t count, float scale, float* to);
  float (*narrow)(const std::uint16_t* bfloat16, std::int64_t count, std::int8_t* to);
};

struct MatrixKernels;

struct CompiledKernels {
  const char* name;
  int width;  // lanes of a vector
  /// Folds the tile into the block. `scores`: room for (kTileColumns, lanes).
  void (*attend_lanes)(const LaneBlock& block, const KeyTile& keys, const LaneColumns& seen,
                       float* scores);
  /// Folds the tile into the block; every head sees every column. Meanwhile the keys of `next`,
  /// the tile to come, are fetched into the cache.
  void (*attend_heads)(const HeadBlock& block, const KeyTile& keys, const KeyTile& next);
  /// The same of keys and values in bfloat16.
  void (*attend_bfloat16_heads)(const HeadBlock& block, const BFloat16Tile& keys,
                                const BFloat16Tile& next);
  ValueConversion float16;
  ValueConversion bfloat16;
  Int8Conversion int8;
  /// Of prefill in bfloat16; null without a matrix unit.
  const MatrixKernels* matrix = nullptr;
};

/// Four lanes: every x86-64 has SSE2, and elsewhere the compiler splits them into scalars.
extern const CompiledKernels kScalarKernels;
extern const CompiledKernels kAvx2Kernels;
extern const CompiledKernels kAvx512Kernels;
extern const CompiledKernels kAmxKernels;

}  // namespace longspan

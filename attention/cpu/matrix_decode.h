// Decode in bfloat16 by a matrix unit: the query heads that read a KV head are lanes of one tile.
//
// Few of its lanes are used, but the unit has time to spare: a tile of keys is folded in sooner
// than it can be fetched, and keys that lie in bfloat16 are never widened.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/half_columns.h"
#include "attention/cpu/key_columns.h"
#include "attention/cpu/matrix_kernels.h"
#include "attention/partial.h"

namespace longspan {

/// One row's heads, in one pass over keys by one thread.
class MatrixDecode {
 public:
  /// Whether there are lanes for the shape's heads.
  static bool takes(const HeadShape& shape) { return shape.most_readers() <= kTileLanes; }

  MatrixDecode(const CompiledKernels& kernels, const HeadShape& shape);

  /// Forgets everything. Between begin() and end(), on one thread, the calls below.
  void begin();
  void end() { kernels_->stop(); }

  /// The heads that read `kv_head`; q: (query_heads, head_dim) of the row.
  void start(int kv_head, const float* q, float scale);
  /// Folds a tile, at most kTileColumns columns, into the heads that read `kv_head`, and meanwhile
  /// asks for what they will read of `next`, which may be empty.
  void attend(int kv_head, const std::vector<KeyPiece>& tile, const std::vector<KeyPiece>& next);
  /// Once all is folded in: into `out` of the row, all heads.
  void finish();
  void store(int kv_head, Partial out) const;

 private:
  /// A tile on its way.
  struct Visit {
    int kv_head;
    KeyTile keys;  // widened only where a value is wild
    PackedKeys packed;
  };

  MatrixBlock block(int kv_head) const;
  void fetch(int kv_head, const std::vector<KeyPiece>& tile) const;
  MatrixScratch scratch(std::int64_t visit) const;
  PackedKeys memory(std::int64_t visit) const;
  /// The next steps of the visits that are on their way, when `started` have begun.
  void advance();

  static constexpr int kVisits = 3;  // that are on their way at once

  const MatrixKernels* kernels_;
  HeadShape shape_;
  float scale_ = 1;
  std::int64_t started_ = 0;   // visits
  std::int64_t advanced_ = 0;  // steps
  std::array<Visit, kVisits> visits_;
  HalfColumns halves_;
  std::array<KeyColumns, kVisits> widened_;
  AlignedHalves q_, k_, v_, p_;
  AlignedFloats acc_, m_, l_, scores_;
};

}  // namespace longspan

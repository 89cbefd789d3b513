// Up to kTileLanes query heads of rows, and their running softmax, as attend_lanes() wants them.
//
//   lanes    | 0 ...             | B ...             | 2B ...     |      B = 3 vectors
//   block    | (head_dim, B)     | (head_dim, B)     | (head_dim, rest up to a vector)
//
// A lane's arithmetic never depends on its neighbours: which rows share a tile changes no bits.
#pragma once

#include <array>
#include <cstdint>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/compiled_kernels.h"
#include "attention/shard_layout.h"

namespace longspan {

/// Lanes that share one pass over the keys: each key tile is fetched from afar once for all of
/// them. 96 is a whole number of blocks at every width.
inline constexpr int kTileLanes = 96;

/// What each lane sees of a tile. Lanes that only fill up a vector see nothing.
struct TileColumns {
  alignas(64) std::array<std::int32_t, kTileLanes> begin{};
  alignas(64) std::array<std::int32_t, kTileLanes> end{};
};

class RowTile {
 public:
  RowTile(const CompiledKernels& kernels, int head_dim);

  /// Forgets everything; the lanes' queries are zero and their state empty.
  void start(int lanes);
  void set_query(int lane, const float* q, float scale);
  void set_state(int lane, const float* acc, float m, float l);
  void copy_state(int lane, float* acc, float* m, float* l) const;

  /// Every lane sees every column.
  void attend(const KeyTile& keys);
  /// Lane i sees columns [begin[i], end[i]): may be none, may end behind the last one.
  void attend(const KeyTile& keys, const TileColumns& seen);

 private:
  struct Block {
    int first_lane;
    int lanes;  // without those that fill up the last vector
    LaneBlock view;
  };
  /// Where value 0 of `lane` lies in q and acc, and the distance to value 1.
  struct Place {
    std::int64_t offset;
    int stride;
  };

  Place place(int lane) const;
  Block block(int first_lane) const;
  int block_lanes() const { return kBlockVectors * kernels_->width; }

  const CompiledKernels* kernels_;
  int head_dim_;
  int lanes_ = 0;
  AlignedFloats q_, acc_, m_, l_, scores_;
};

}  // namespace longspan

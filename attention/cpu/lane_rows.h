// Rows in float32, as attend_lanes() wants them.
//
//   lanes    | 0 ...             | B ...             | 2B ...     |      B = 3 vectors
//   block    | (head_dim, B)     | (head_dim, B)     | (head_dim, rest up to a vector)
#pragma once

#include <cstdint>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/row_tile.h"

namespace longspan {

class LaneRows final : public RowTile {
 public:
  LaneRows(const CompiledKernels& kernels, int head_dim);

  int most_lanes() const override { return kLanes; }
  void start(int lanes, float scale) override;
  void stop() override {}
  void set_query(int lane, const float* q) override;
  void set_state(int lane, const float* acc, float m, float l) override;
  void copy_state(int lane, float* acc, float* m, float* l) const override;
  void attend(const KeyTile& keys) override;
  void attend(const KeyTile& keys, const TileColumns& seen) override;

 private:
  static constexpr int kLanes = 96;  // a whole number of blocks at every width

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
  float scale_ = 1;
  AlignedFloats q_, acc_, m_, l_, scores_;
};

}  // namespace longspan

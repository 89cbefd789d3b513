// Rows in bfloat16, as a matrix unit wants them: in blocks of kMatrixLanes.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/cpu/aligned_floats.h"
#include "attention/cpu/matrix_kernels.h"
#include "attention/cpu/row_tile.h"

namespace longspan {

class MatrixRows final : public RowTile {
 public:
  MatrixRows(const MatrixKernels& kernels, int head_dim);

  int most_lanes() const override { return kLanes; }
  void start(int lanes, float scale) override;
  void stop() override { kernels_->stop(); }
  void set_query(int lane, const float* q) override;
  void set_state(int lane, const float* acc, float m, float l) override;
  void copy_state(int lane, float* acc, float* m, float* l) const override;
  void attend(const KeyTile& keys) override;
  void attend(const KeyTile& keys, const TileColumns& seen) override;

 private:
  /// Keys are narrowed and transposed once for all lanes: at 512 lanes that is 7 % of the work on
  /// them (estimate), and the lanes' state still fits the L2 cache.
  static constexpr int kLanes = kMostTileLanes;

  /// A block on its way through a tile of keys.
  struct Visit {
    MatrixBlock block;
    KeyTile keys;
    LaneColumns seen;
  };

  MatrixBlock block(int first_lane) const;
  /// Of the visit with this number: a visit's scores are gone two visits later.
  MatrixScratch scratch(int visit) const;
  void narrow_keys(const KeyTile& keys);
  /// Folds the narrowed keys into the blocks of visits_.
  void take_visits();
  /// Where value 0 of `lane` lies in acc; value 1 is kMatrixLanes further.
  float* acc(int lane) const;

  const MatrixKernels* kernels_;
  int head_dim_;
  int lanes_ = 0;
  float scale_ = 1;
  PackedKeys packed_{};
  std::vector<Visit> visits_;
  AlignedHalves q_, k_, v_, p_;
  AlignedFloats acc_, m_, l_, scores_;
};

}  // namespace longspan

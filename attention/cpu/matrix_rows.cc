#include "attention/cpu/matrix_rows.h"

#include <algorithm>
#include <array>
#include <limits>

#include "attention/kv_type.h"

namespace longspan {
namespace {

constexpr int kMostHeadDim = 256;

int whole_blocks(int lanes) { return (lanes + kMatrixLanes - 1) / kMatrixLanes * kMatrixLanes; }

}  // namespace

MatrixRows::MatrixRows(const MatrixKernels& kernels, int head_dim)
    : kernels_(&kernels),
      head_dim_(head_dim),
      q_(aligned_halves(kLanes * padded_head(head_dim))),
      k_(aligned_halves(kTileColumns * padded_head(head_dim))),
      v_(aligned_halves(kTileColumns * padded_head(head_dim))),
      p_(aligned_halves(2 * kTileColumns * kMatrixLanes)),
      acc_(aligned_floats(kLanes * padded_head(head_dim))),
      m_(aligned_floats(kLanes)),
      l_(aligned_floats(kLanes)),
      scores_(aligned_floats(2 * kTileColumns * kMatrixLanes)) {}

void MatrixRows::start(int lanes, float scale) {
  kernels_->start();
  lanes_ = lanes;
  scale_ = scale;
  const int whole = whole_blocks(lanes);
  std::fill_n(q_.get(), whole * padded_head(head_dim_), std::uint16_t{0});
  std::fill_n(acc_.get(), whole * padded_head(head_dim_), 0.0f);
  std::fill_n(m_.get(), whole, -std::numeric_limits<float>::infinity());
  std::fill_n(l_.get(), whole, 0.0f);
}

void MatrixRows::set_query(int lane, const float* q) {
  constexpr int kTileLanes = kMatrixLanes / 2;
  std::array<std::uint16_t, kMostHeadDim> narrowed;
  narrow(KvType::kBFloat16, q, head_dim_, narrowed.data());
  // Lanes of one tile hold one pair of dimensions after the other.
  std::uint16_t* to =
      q_.get() + lane / kTileLanes * kTileLanes * padded_head(head_dim_) + lane % kTileLanes * 2;
  for (int d = 0; d < head_dim_; d += 2, to += 2 * kTileLanes) {
    to[0] = narrowed[d];
    to[1] = narrowed[d + 1];
  }
}

float* MatrixRows::acc(int lane) const {
  return acc_.get() + lane / kMatrixLanes * kMatrixLanes * padded_head(head_dim_) +
         lane % kMatrixLanes;
}

void MatrixRows::set_state(int lane, const float* values, float m, float l) {
  float* to = acc(lane);
  for (int d = 0; d < head_dim_; ++d) to[d * kMatrixLanes] = values[d];
  m_.get()[lane] = m;
  l_.get()[lane] = l;
}

void MatrixRows::copy_state(int lane, float* values, float* m, float* l) const {
  const float* from = acc(lane);
  for (int d = 0; d < head_dim_; ++d) values[d] = from[d * kMatrixLanes];
  *m = m_.get()[lane];
  *l = l_.get()[lane];
}

MatrixBlock MatrixRows::block(int first_lane) const {
  return {head_dim_,
          scale_,
          q_.get() + first_lane * padded_head(head_dim_),
          acc(first_lane),
          m_.get() + first_lane,
          l_.get() + first_lane};
}

MatrixScratch MatrixRows::scratch(int visit) const {
  const int at = visit % 2 * kTileColumns * kMatrixLanes;
  return {scores_.get() + at, p_.get() + at};
}

void MatrixRows::narrow_keys(const KeyTile& keys) {
  packed_ = {k_.get(), v_.get()};
  kernels_->pack_keys(keys, head_dim_, packed_);
}

void MatrixRows::take_visits() {
  const int visits = static_cast<int>(visits_.size());
  for (int i = 0; i < visits + 2; ++i) {
    if (i < visits) {
      kernels_->score(visits_[i].block, packed_, visits_[i].keys.columns, scratch(i));
    }
    if (i >= 2) {
      const Visit& visit = visits_[i - 2];
      kernels_->accumulate(visit.block, visit.keys, packed_, scratch(i - 2));
    }
    if (i >= 1 && i <= visits) {
      const Visit& visit = visits_[i - 1];
      kernels_->soften(visit.block, visit.keys.columns, visit.seen, scratch(i - 1));
    }
  }
  visits_.clear();
}

void MatrixRows::attend(const KeyTile& keys) {
  narrow_keys(keys);
  for (int lane = 0; lane < lanes_; lane += kMatrixLanes) {
    visits_.push_back({block(lane), keys, {}});
  }
  take_visits();
}

void MatrixRows::attend(const KeyTile& keys, const TileColumns& seen) {
  narrow_keys(keys);
  for (int lane = 0; lane < lanes_; lane += kMatrixLanes) {
    const int lanes = std::min(kMatrixLanes, lanes_ - lane);
    if (const auto part = seen_by(keys, seen, lane, lanes)) {
      visits_.push_back({block(lane), part->keys, part->columns});
    }
  }
  take_visits();
}

}  // namespace longspan

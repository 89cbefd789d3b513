#include "attention/cpu/lane_rows.h"

#include <algorithm>
#include <limits>

namespace longspan {

LaneRows::LaneRows(const CompiledKernels& kernels, int head_dim)
    : kernels_(&kernels),
      head_dim_(head_dim),
      q_(aligned_floats(kLanes * head_dim)),
      acc_(aligned_floats(kLanes * head_dim)),
      m_(aligned_floats(kLanes)),
      l_(aligned_floats(kLanes)),
      scores_(aligned_floats(kTileColumns * kBlockVectors * kernels.width)) {}

void LaneRows::start(int lanes, float scale) {
  lanes_ = lanes;
  scale_ = scale;
  const int whole_vectors = (lanes + kernels_->width - 1) / kernels_->width * kernels_->width;
  std::fill_n(q_.get(), whole_vectors * head_dim_, 0.0f);
  std::fill_n(acc_.get(), whole_vectors * head_dim_, 0.0f);
  std::fill_n(m_.get(), whole_vectors, -std::numeric_limits<float>::infinity());
  std::fill_n(l_.get(), whole_vectors, 0.0f);
}

LaneRows::Block LaneRows::block(int first_lane) const {
  const int lanes = std::min(block_lanes(), lanes_ - first_lane);
  const std::int64_t offset = static_cast<std::int64_t>(first_lane) * head_dim_;
  return {first_lane, lanes,
          LaneBlock{(lanes + kernels_->width - 1) / kernels_->width, head_dim_, q_.get() + offset,
                    acc_.get() + offset, m_.get() + first_lane, l_.get() + first_lane}};
}

LaneRows::Place LaneRows::place(int lane) const {
  const Block home = block(lane / block_lanes() * block_lanes());
  return {static_cast<std::int64_t>(home.first_lane) * head_dim_ + lane - home.first_lane,
          home.view.vectors * kernels_->width};
}

void LaneRows::set_query(int lane, const float* q) {
  const auto [offset, stride] = place(lane);
  for (int d = 0; d < head_dim_; ++d) q_.get()[offset + d * stride] = q[d] * scale_;
}

void LaneRows::set_state(int lane, const float* acc, float m, float l) {
  const auto [offset, stride] = place(lane);
  for (int d = 0; d < head_dim_; ++d) acc_.get()[offset + d * stride] = acc[d];
  m_.get()[lane] = m;
  l_.get()[lane] = l;
}

void LaneRows::copy_state(int lane, float* acc, float* m, float* l) const {
  const auto [offset, stride] = place(lane);
  for (int d = 0; d < head_dim_; ++d) acc[d] = acc_.get()[offset + d * stride];
  *m = m_.get()[lane];
  *l = l_.get()[lane];
}

void LaneRows::attend(const KeyTile& keys) {
  for (int lane = 0; lane < lanes_; lane += block_lanes()) {
    kernels_->attend_lanes(block(lane).view, keys, {}, scores_.get());
  }
}

void LaneRows::attend(const KeyTile& keys, const TileColumns& seen) {
  for (int lane = 0; lane < lanes_; lane += block_lanes()) {
    const Block now = block(lane);
    if (const auto part = seen_by(keys, seen, lane, now.lanes)) {
      kernels_->attend_lanes(now.view, part->keys, part->columns, scores_.get());
    }
  }
}

}  // namespace longspan

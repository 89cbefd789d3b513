#include "attention/cpu/matrix_decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "attention/cpu/merge.h"
#include "attention/kv_type.h"

namespace longspan {
namespace {

constexpr int kMostHeadDim = 256;
constexpr int kScratches = 2;

}  // namespace

MatrixDecode::MatrixDecode(const CompiledKernels& kernels, const HeadShape& shape)
    : kernels_(kernels.matrix),
      shape_(shape),
      widened_{{{kernels, shape.head_dim}, {kernels, shape.head_dim}, {kernels, shape.head_dim}}},
      q_(aligned_halves(shape.kv_heads * kTileLanes * padded_head(shape.head_dim))),
      k_(aligned_halves(kVisits * kTileColumns * padded_head(shape.head_dim))),
      v_(aligned_halves(kVisits * kTileColumns * padded_head(shape.head_dim))),
      p_(aligned_halves(kScratches * kTileColumns * kTileLanes)),
      acc_(aligned_floats(shape.kv_heads * kTileLanes * padded_head(shape.head_dim))),
      m_(aligned_floats(shape.kv_heads * kTileLanes)),
      l_(aligned_floats(shape.kv_heads * kTileLanes)),
      scores_(aligned_floats(kScratches * kTileColumns * kTileLanes)) {}

void MatrixDecode::begin() {
  kernels_->start();
  started_ = advanced_ = 0;
}

MatrixBlock MatrixDecode::block(int kv_head) const {
  const int lanes = kv_head * kTileLanes;
  const int depth = padded_head(shape_.head_dim);
  return {kTileLanes,
          shape_.head_dim,
          scale_,
          q_.get() + lanes * depth,
          acc_.get() + lanes * depth,
          m_.get() + lanes,
          l_.get() + lanes};
}

MatrixScratch MatrixDecode::scratch(std::int64_t visit) const {
  const std::int64_t at = visit % kScratches * kTileColumns * kTileLanes;
  return {scores_.get() + at, p_.get() + at};
}

PackedKeys MatrixDecode::memory(std::int64_t visit) const {
  const std::int64_t at = visit % kVisits * kTileColumns * padded_head(shape_.head_dim);
  return {k_.get() + at, v_.get() + at};
}

void MatrixDecode::start(int kv_head, const float* q, float scale) {
  scale_ = scale;
  const auto [first, heads] = shape_.readers(kv_head);
  const int head_dim = shape_.head_dim, depth = padded_head(head_dim);
  const MatrixBlock block = this->block(kv_head);
  std::uint16_t* pairs = q_.get() + kv_head * kTileLanes * depth;
  std::fill_n(pairs, kTileLanes * depth, std::uint16_t{0});
  for (int lane = 0; lane < heads; ++lane) {
    std::array<std::uint16_t, kMostHeadDim> narrowed;
    narrow(KvType::kBFloat16, q + (first + lane) * head_dim, head_dim, narrowed.data());
    for (int d = 0; d < head_dim; ++d) {
      pairs[d / 2 * 2 * kTileLanes + 2 * lane + d % 2] = narrowed[d];
    }
  }
  std::fill_n(block.acc, kTileLanes * depth, 0.0f);
  std::fill_n(block.m, kTileLanes, -std::numeric_limits<float>::infinity());
  std::fill_n(block.l, kTileLanes, 0.0f);
}

/// Pages are a few KiB here and there: at the end of each the hardware cannot guess what comes.
void MatrixDecode::fetch(int kv_head, const std::vector<KeyPiece>& tile) const {
  constexpr int kLine = 64;
  for (const KeyPiece& piece : tile) {
    const std::int64_t row_bytes = value_bytes(piece.view->type) * std::int64_t{shape_.head_dim};
    for_each_page(*piece.view, piece.column, piece.count, [&](std::int64_t column, std::int64_t n) {
      const KvView at = piece.view->shifted(piece.view->offset(column, kv_head, shape_.head_dim));
      for (std::int64_t byte = 0; byte < n * row_bytes; byte += kLine) {
        __builtin_prefetch(static_cast<const std::byte*>(at.k) + byte, 0, 2);
        __builtin_prefetch(static_cast<const std::byte*>(at.v) + byte, 0, 2);
      }
    });
  }
}

void MatrixDecode::attend(int kv_head, const std::vector<KeyPiece>& tile,
                          const std::vector<KeyPiece>& next) {
  fetch(kv_head, next);
  Visit& visit = visits_[started_ % kVisits];
  visit = {kv_head, {nullptr, nullptr, 0}, memory(started_)};
  const auto widen = [&] {
    KeyColumns& widened = widened_[started_ % kVisits];
    widened.clear();
    for (const KeyPiece& piece : tile) {
      widened.append(*piece.view, kv_head, piece.column, piece.count);
    }
    visit.keys = widened.tile();
  };
  const bool is_narrow = std::ranges::all_of(
      tile, [](const KeyPiece& piece) { return piece.view->type == KvType::kBFloat16; });
  if (is_narrow) {
    halves_.clear();
    for (const KeyPiece& piece : tile) {
      halves_.append(*piece.view, kv_head, shape_.head_dim, piece.column, piece.count);
    }
    kernels_->pack_halves(halves_.tile(), shape_.head_dim, visit.packed);
    visit.keys.columns = halves_.tile().columns;
    if (visit.packed.wild) widen();
  } else {
    widen();
    kernels_->pack_keys(visit.keys, shape_.head_dim, visit.packed);
  }
  ++started_;
  advance();
}

void MatrixDecode::advance() {
  const std::int64_t step = advanced_++;
  const auto on_its_way = [&](std::int64_t visit) { return visit >= 0 && visit < started_; };
  if (on_its_way(step)) {
    const Visit& visit = visits_[step % kVisits];
    kernels_->score(block(visit.kv_head), visit.packed, visit.keys.columns, scratch(step));
  }
  if (on_its_way(step - 2)) {
    const Visit& visit = visits_[(step - 2) % kVisits];
    kernels_->accumulate(block(visit.kv_head), visit.keys, visit.packed, scratch(step - 2));
  }
  if (on_its_way(step - 1)) {
    const Visit& visit = visits_[(step - 1) % kVisits];
    kernels_->soften(block(visit.kv_head), visit.keys.columns, {}, scratch(step - 1));
  }
}

void MatrixDecode::finish() {
  while (advanced_ < started_ + 2) advance();
}

void MatrixDecode::store(int kv_head, Partial out) const {
  const auto [first, heads] = shape_.readers(kv_head);
  const int head_dim = shape_.head_dim;
  const MatrixBlock block = this->block(kv_head);
  for (int lane = 0; lane < heads; ++lane) {
    float* o = out.o + (first + lane) * head_dim;
    for (int d = 0; d < head_dim; ++d) o[d] = block.acc[d * kTileLanes + lane];
    normalise({o, block.m + lane, block.l + lane}, {o, out.lse + first + lane}, 0, head_dim);
  }
}

}  // namespace longspan

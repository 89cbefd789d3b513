#include "attention/cpu/head_columns.h"

#include <algorithm>

namespace longspan {

HeadColumns::HeadColumns(const CompiledKernels& kernels, int head_dim)
    : kernels_(&kernels), head_dim_(head_dim), floats_(kernels, head_dim) {}

void HeadColumns::read(const std::vector<KeyPiece>& tile, int kv_head) {
  columns_ = 0;
  floats_.clear();
  const bool all_bfloat16 = std::ranges::all_of(
      tile, [](const KeyPiece& piece) { return piece.view->type == KvType::kBFloat16; });
  for (const KeyPiece& piece : tile) {
    if (all_bfloat16) {
      point(piece, kv_head);
    } else {
      floats_.append(*piece.view, kv_head, piece.column, piece.count);
    }
  }
  if (!all_bfloat16) return;
  std::fill(k_.begin() + columns_, k_.end(), k_[columns_ - 1]);
  std::fill(v_.begin() + columns_, v_.end(), v_[columns_ - 1]);
}

void HeadColumns::point(const KeyPiece& piece, int kv_head) {
  for_each_page(piece, kv_head, head_dim_, [&](const KvView& at, std::int64_t, int count) {
    const auto* k = static_cast<const std::uint16_t*>(at.k);
    const auto* v = static_cast<const std::uint16_t*>(at.v);
    for (int i = 0; i < count; ++i, ++columns_, k += head_dim_, v += head_dim_) {
      k_[columns_] = k;
      v_[columns_] = v;
    }
  });
}

void HeadColumns::attend(const HeadBlock& block, HeadColumns& next) {
  // A tile of the other kind is not fetched ahead: where kinds change there is one.
  const bool alike = next.in_place() == in_place();
  if (in_place()) {
    const BFloat16Tile tile = bfloat16_tile();
    kernels_->attend_bfloat16_heads(block, tile, alike ? next.bfloat16_tile() : tile);
  } else {
    const KeyTile tile = floats_.tile();
    kernels_->attend_heads(block, tile, alike ? next.floats_.tile() : tile);
  }
}

}  // namespace longspan

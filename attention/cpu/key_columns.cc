#include "attention/cpu/key_columns.h"

#include <algorithm>

namespace longspan {

KeyColumns::KeyColumns(const CompiledKernels& kernels, int head_dim)
    : kernels_(&kernels),
      head_dim_(head_dim),
      widened_k_(aligned_floats(kTileColumns * head_dim)),
      widened_v_(aligned_floats(kTileColumns * head_dim)) {}

void KeyColumns::append(const KvView& view, int kv_head, std::int64_t begin, int count) {
  const std::int64_t end = begin + count;
  for (std::int64_t column = begin; column < end;) {
    const std::int64_t page_end = (column / view.page_tokens + 1) * view.page_tokens;
    const int piece = static_cast<int>(std::min(end, page_end) - column);
    const std::int64_t offset = view.offset(column, kv_head, head_dim_);
    const std::int64_t at = std::int64_t{columns_} * head_dim_;
    point(view.k, view.type, offset, piece, widened_k_.get() + at, k_.data() + columns_);
    point(view.v, view.type, offset, piece, widened_v_.get() + at, v_.data() + columns_);
    columns_ += piece;
    column += piece;
  }
}

void KeyColumns::point(const void* from, KvType type, std::int64_t offset, int count,
                       float* widened, const float** to) const {
  const float* first = widened;
  switch (type) {
    case KvType::kFloat32:
      first = static_cast<const float*>(from) + offset;
      break;
    case KvType::kFloat16:
      kernels_->float16.widen(static_cast<const std::uint16_t*>(from) + offset, count * head_dim_,
                              widened);
      break;
    case KvType::kBFloat16:
      kernels_->bfloat16.widen(static_cast<const std::uint16_t*>(from) + offset, count * head_dim_,
                               widened);
      break;
  }
  for (int i = 0; i < count; ++i) to[i] = first + std::int64_t{i} * head_dim_;
}

KeyTile KeyColumns::tile() {
  std::fill(k_.begin() + columns_, k_.end(), k_[columns_ - 1]);
  std::fill(v_.begin() + columns_, v_.end(), v_[columns_ - 1]);
  return {k_.data(), v_.data(), columns_};
}

}  // namespace longspan

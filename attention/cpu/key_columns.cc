#include "attention/cpu/key_columns.h"

#include <algorithm>

namespace longspan {

KeyColumns::KeyColumns(const CompiledKernels& kernels, int head_dim)
    : kernels_(&kernels),
      head_dim_(head_dim),
      widened_k_(aligned_floats(kTileColumns * head_dim)),
      widened_v_(aligned_floats(kTileColumns * head_dim)) {}

void KeyColumns::append(const KvView& view, int kv_head, std::int64_t begin, int count) {
  const auto page = [&](const KvView& at, std::int64_t column, int columns) {
    const bool scaled = has_scales(view.type);
    const std::int64_t done = std::int64_t{columns_} * head_dim_;
    point({at.k, view.type, scaled ? view.k_scale(column, kv_head) : nullptr, columns},
          widened_k_.get() + done, k_.data() + columns_);
    point({at.v, view.type, scaled ? view.v_scale(column, kv_head) : nullptr, columns},
          widened_v_.get() + done, v_.data() + columns_);
    columns_ += columns;
  };
  for_each_page({&view, begin, count}, kv_head, head_dim_, page);
}

void KeyColumns::point(const Columns& columns, float* widened, const float** to) const {
  const float* first = widened;
  const std::int64_t values = std::int64_t{columns.count} * head_dim_;
  switch (columns.type) {
    case KvType::kFloat32:
      first = static_cast<const float*>(columns.from);
      break;
    case KvType::kFloat16:
      kernels_->float16.widen(static_cast<const std::uint16_t*>(columns.from), values, widened);
      break;
    case KvType::kBFloat16:
      kernels_->bfloat16.widen(static_cast<const std::uint16_t*>(columns.from), values, widened);
      break;
    case KvType::kInt8:
      kernels_->int8.widen(static_cast<const std::int8_t*>(columns.from), values, *columns.scale,
                           widened);
      break;
  }
  for (int i = 0; i < columns.count; ++i) to[i] = first + std::int64_t{i} * head_dim_;
}

KeyTile KeyColumns::tile() {
  std::fill(k_.begin() + columns_, k_.end(), k_[columns_ - 1]);
  std::fill(v_.begin() + columns_, v_.end(), v_[columns_ - 1]);
  return {k_.data(), v_.data(), columns_};
}

}  // namespace longspan

#include "attention/cpu/key_columns.h"

#include <algorithm>

namespace longspan {

void KeyColumns::append(const KvView& view, int kv_head, int head_dim, std::int64_t begin,
                        int count) {
  const std::int64_t end = begin + count;
  for (std::int64_t column = begin; column < end;) {
    const std::int64_t page_end = (column / view.page_tokens + 1) * view.page_tokens;
    const std::int64_t piece_end = std::min(end, page_end);
    std::int64_t offset = view.offset(column, kv_head, head_dim);
    for (; column < piece_end; ++column, offset += head_dim) {
      k_[columns_] = view.k + offset;
      v_[columns_] = view.v + offset;
      ++columns_;
    }
  }
}

KeyTile KeyColumns::tile() {
  std::fill(k_.begin() + columns_, k_.end(), k_[columns_ - 1]);
  std::fill(v_.begin() + columns_, v_.end(), v_[columns_ - 1]);
  return {k_.data(), v_.data(), columns_};
}

}  // namespace longspan

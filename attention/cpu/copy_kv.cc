#include "attention/cpu/copy_kv.h"

#include <algorithm>
#include <cstring>

namespace longspan {
namespace {

std::int64_t left_in_page(const KvView& view, std::int64_t column) {
  return view.page_tokens - column % view.page_tokens;
}

}  // namespace

void copy_columns(const KvCopy& copy, int kv_head, int head_dim) {
  std::int64_t to_column = copy.to_column;
  for (std::int64_t column = copy.columns.begin; column < copy.columns.end;) {
    const std::int64_t count = std::min({copy.columns.end - column, left_in_page(copy.from, column),
                                         left_in_page(copy.to, to_column)});
    const std::int64_t source = copy.from.offset(column, kv_head, head_dim);
    const std::int64_t target = copy.to.offset(to_column, kv_head, head_dim);
    const std::size_t bytes = static_cast<std::size_t>(count) * head_dim * sizeof(float);
    std::memcpy(copy.to.k + target, copy.from.k + source, bytes);
    std::memcpy(copy.to.v + target, copy.from.v + source, bytes);
    column += count;
    to_column += count;
  }
}

}  // namespace longspan

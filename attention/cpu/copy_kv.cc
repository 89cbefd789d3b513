#include "attention/cpu/copy_kv.h"

#include <algorithm>
#include <cstring>

namespace longspan {
namespace {

std::int64_t left_in_page(const KvView& view, std::int64_t column) {
  return view.page_tokens - column % view.page_tokens;
}

/// Columns that stay together on both sides: up to the end of a page here or there, or of a block
/// of the target's positions.
std::int64_t together(const KvCopy& copy, std::int64_t done, std::int64_t to_column) {
  const PositionRun& to = copy.to_columns;
  return std::min({to.count - done, to.block - done % to.block,
                   left_in_page(copy.from, copy.from_column + done),
                   left_in_page(copy.to, to_column)});
}

}  // namespace

void copy_columns(const KvCopy& copy, int kv_head, int head_dim) {
  for (std::int64_t done = 0; done < copy.to_columns.count;) {
    const std::int64_t to_column = copy.to_columns.position(done);
    const std::int64_t count = together(copy, done, to_column);
    const std::int64_t source = copy.from.offset(copy.from_column + done, kv_head, head_dim);
    const std::int64_t target = copy.to.offset(to_column, kv_head, head_dim);
    const std::size_t bytes = static_cast<std::size_t>(count) * head_dim * sizeof(float);
    std::memcpy(copy.to.k + target, copy.from.k + source, bytes);
    std::memcpy(copy.to.v + target, copy.from.v + source, bytes);
    done += count;
  }
}

}  // namespace longspan

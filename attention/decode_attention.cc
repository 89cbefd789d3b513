#include "attention/decode_attention.h"

#include <algorithm>

namespace longspan {

DecodeRow DecodeAttention::local_row(const DecodeBatch& batch, int row, const KvView& pages,
                                     const float* q, Partial out) const {
  DecodeRow local{.q = q, .segments = {}, .out = out};
  const DecodeBatchRow& source = batch.rows[row];
  KvView view = pages;
  view.table = source.slots.data();
  view.page_tokens = batch.page_tokens;
  for (std::int64_t column = source.first; column < source.columns;) {
    // What is left of a page that the window begins in is a segment of its own.
    const std::int64_t inside = column % batch.page_tokens;
    const std::int64_t left = source.columns - column;
    const std::int64_t count = inside == 0 ? left : std::min(left, batch.page_tokens - inside);
    local.segments.push_back({.view = view.from(column, kernels_.shape().head_dim), .len = count});
    column += count;
  }
  return local;
}

}  // namespace longspan

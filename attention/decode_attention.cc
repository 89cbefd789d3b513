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
  const auto add = [&](std::int64_t column, std::int64_t end) {
    while (column < end) {
      // What is left of a page that the columns begin in is a segment of its own.
      const std::int64_t inside = column % batch.page_tokens;
      const std::int64_t left = end - column;
      const std::int64_t count = inside == 0 ? left : std::min(left, batch.page_tokens - inside);
      local.segments.push_back(
          {.view = view.from(column, kernels_.shape().head_dim), .len = count});
      column += count;
    }
  };
  add(0, source.anchor);
  add(source.first, source.columns);
  return local;
}

}  // namespace longspan

#include "attention/decode_attention.h"

namespace longspan {

DecodeRow DecodeAttention::local_row(const DecodeBatch& batch, int row, const KvView& pages,
                                     const float* q, Partial out) const {
  DecodeRow local{.q = q, .segments = {}, .out = out};
  const DecodeBatchRow& source = batch.rows[row];
  if (source.columns > 0) {
    KvView view = pages;
    view.table = source.slots.data();
    view.page_tokens = batch.page_tokens;
    local.segments.push_back(
        {.view = view, .len = source.columns, .causal = false, .positions = {}});
  }
  return local;
}

}  // namespace longspan

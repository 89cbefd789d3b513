#include "attention/decode_attention.h"

namespace longspan {

DecodeRow DecodeAttention::local_row(const DecodeBatch& batch, int row, const KvPages& pages,
                                     const float* q, Partial out) const {
  DecodeRow local{.q = q, .segments = {}, .out = out};
  const DecodeBatchRow& source = batch.rows[row];
  const Interval columns{source.first, source.columns};
  for (const KvPart& part :
       pages.parts({source.slots, source.tail}, columns, kernels_.shape().head_dim)) {
    local.segments.push_back({.view = part.view, .len = part.columns});
  }
  return local;
}

}  // namespace longspan

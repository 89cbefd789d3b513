#include "attention/decode_attention.h"

namespace longspan {

DecodeRow DecodeAttention::local_row(const DecodeBatch& batch, int row, const KvPages& pages,
                                     const float* q, Partial out) const {
  DecodeRow local{.q = q, .segments = {}, .out = out};
  const DecodeBatchRow& source = batch.rows[row];
  const OwnPages own{source.slots, source.tail};
  const auto add = [&](const Interval& columns) {
    for (const KvPart& part :
         pages.parts(own, columns, source.columns, kernels_.shape().head_dim)) {
      local.segments.push_back({.view = part.view, .len = part.columns});
    }
  };
  add({0, source.anchor});
  add({source.first, source.columns});
  return local;
}

}  // namespace longspan

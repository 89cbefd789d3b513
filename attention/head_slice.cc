#include "attention/head_slice.h"

#include "comm/error.h"

namespace longspan {

HeadSlice slice_heads(const HeadShape& model, int part, int parts) {
  expects(parts >= 1 && part >= 0 && part < parts && model.query_heads % parts == 0,
          "the query heads divide evenly");
  const int heads = model.query_heads / parts, group = model.group();
  const int first = part * heads;
  const int first_kv = first / group, last_kv = (first + heads - 1) / group;
  return {.shape = {.query_heads = heads,
                    .kv_heads = last_kv - first_kv + 1,
                    .head_dim = model.head_dim,
                    .ratio = group,
                    .lead = first % group},
          .first_query = first,
          .first_kv = first_kv};
}

}  // namespace longspan

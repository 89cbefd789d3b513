// Which heads a rank attends when ranks split heads (DeepSpeed Ulysses, arXiv 2309.14509).
//
// Query heads are cut evenly; a KV head that several ranks read travels to each of them, and is
// kept by none: for 12 query heads, 2 KV heads and 3 ranks
//
//   rank 0: queries 0-3, KV 0      rank 1: queries 4-7, KV 0 and 1      rank 2: queries 8-11, KV 1
#pragma once

#include "attention/segment.h"

namespace longspan {

struct HeadSlice {
  HeadShape shape;
  int first_query;  // head of the model
  int first_kv;
};

/// Part `part` of `parts`; `parts` divides the query heads.
HeadSlice slice_heads(const HeadShape& model, int part, int parts);

}  // namespace longspan

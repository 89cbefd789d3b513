// Decode of mirrored rows: every rank of the group has every row's query already.
//
//   rank r   attends its own pages for all rows, sends the partials to every other rank,
//            merges what it has with what it got, in rank order
//
// One exchange instead of two, and afterwards every rank holds the same bits of every row. A rank
// sends nothing for a row it has no column of.
#pragma once

#include "attention/decode_attention.h"

namespace longspan {

class MirroredDecode final : public DecodeAttention {
 public:
  using DecodeAttention::DecodeAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const DecodeLimits& limits);

  void run(Stream& compute, const Group& group, const DecodeBatch& batch, const KvPages& pages,
           const float* q, float* out) override;
};

}  // namespace longspan

// Decode of mirrored rows of which every rank finishes some heads: the attention of a layer whose
// weights are sliced (Helix, arXiv 2507.07120).
//
//   rank r   attends its own pages for all rows and heads, sends rank k the partials of k's heads,
//            merges those of its own heads in rank order
//
// Each rank then multiplies its heads by its rows of the output projection, so no rank needs all
// heads, and only 1/N of the partials travels to each. A group of more ranks than heads leaves some
// without a head: they attend, send, and merge nothing.
#pragma once

#include "attention/decode_attention.h"

namespace longspan {

class SlicedDecode final : public DecodeAttention {
 public:
  SlicedDecode(Device& device, AttentionKernels& kernels, DecodeMemory& memory);

  static std::int64_t scratch_values(const HeadShape& shape, const DecodeLimits& limits);

  void run(Stream& compute, const Group& group, const DecodeBatch& batch, const KvPages& pages,
           const float* q, float* out) override;

  Slice heads(const DecodeBatch& batch) const override { return heads_of(batch, batch.rank); }
  std::int64_t bad_lse_total() const override { return single_heads_->bad_lse_total(); }

 private:
  Slice heads_of(const DecodeBatch& batch, int rank) const {
    return even_slice(kernels_.shape().query_heads, 1, rank, batch.size);
  }

  /// Rows of one head: n heads of a row are n rows of it, so it merges any number of heads.
  std::unique_ptr<AttentionKernels> single_heads_;
};

}  // namespace longspan

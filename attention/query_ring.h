// Ring attention with the roles exchanged: keys stay, queries go round (arXiv 2411.01783
// "pass-Q").
//
// Each rank attends its own stream for the queries that are passing, and returns the partial at
// once to the rank whose queries they are, while the next queries come in: only the last return is
// not hidden. The partials of a row are merged in rank order. Cheaper than passing keys when new
// tokens are few and cached ones many. Every rank must keep the KV of its own rows.
#pragma once

#include "attention/prefill_attention.h"

namespace longspan {

class QueryRing final : public PrefillAttention {
 public:
  using PrefillAttention::PrefillAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;

 protected:
  Cached cached(const SplitChunk&) const override { return Cached::kStay; }
};

/// Enqueues the merge, in rank order, of the own partial (in `state`) and those that came back:
/// `returned[j]` from rank j, for each rank whose stream has a column. The result is in `state`.
void merge_returned(Stream& compute, AttentionKernels& kernels, const SplitChunk& chunk,
                    const std::vector<float*>& returned, RunningState state);

}  // namespace longspan

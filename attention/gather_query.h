// Gather-Q: every rank sends its queries to every other, attends its own stream for all rows of the
// chunk in one launch, and returns the partials.
//
// The bytes of the query ring with two latencies instead of N; nothing is hidden. For chunks of so
// few rows that latency is what they cost. Every rank must keep the KV of its own rows.
#pragma once

#include "attention/prefill_attention.h"

namespace longspan {

class GatherQuery final : public PrefillAttention {
 public:
  using PrefillAttention::PrefillAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;

 protected:
  Cached cached(const SplitChunk&) const override { return Cached::kStay; }
};

}  // namespace longspan

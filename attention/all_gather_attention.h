// All-gather attention: every rank sends its stream of keys to every other at once, and attends
// the streams as they arrive, in one call.
//
// It moves the bytes of the ring with one hop instead of N - 1 behind one another, and needs room
// for all streams (context parallelism of arXiv 2407.21783, section 3.3.2, without the copy of what
// the rank has itself).
#pragma once

#include "attention/prefill_attention.h"

namespace longspan {

class AllGatherAttention final : public PrefillAttention {
 public:
  using PrefillAttention::PrefillAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;
};

}  // namespace longspan

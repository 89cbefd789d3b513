// Double ring: a ring of nodes, and inside each node a ring of its devices (LoongTrain, arXiv
// 2406.18485; BurstAttention, arXiv 2403.09347).
//
//   group index = node * devices + device
//   outer step o, inner step k: the stream of (node - o, device - k)
//
// At the start of outer step o a rank sends the stream with which that step begins to its peer of
// the next node, behind the whole inner trip: the slow link is used once for each outer step, and
// by every device of the node at once, instead of by one device at every step.
#pragma once

#include "attention/prefill_attention.h"

namespace longspan {

class DoubleRing final : public PrefillAttention {
 public:
  /// `devices` of a node; a group's size must be a multiple of it.
  DoubleRing(Device& device, AttentionKernels& kernels, PrefillMemory& memory, int devices);

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits,
                                     int devices);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;

 private:
  class Pass;  // one run

  int devices_;
  std::unique_ptr<Stream> between_;  // transfers between nodes
};

}  // namespace longspan

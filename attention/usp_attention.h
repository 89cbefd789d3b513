// Attention split over heads and over the sequence: Ulysses inside islands of ranks, a ring between
// them (USP, arXiv 2405.07719; Ulysses alone, arXiv 2309.14509, is one island of all ranks).
//
//   group index i = k * island + u            u: place in the island      k: which island
//   in      every rank of an island gives every other the heads that this one attends: Q, K and V
//   ring    between the ranks of the same u, over streams of whole islands and a slice of the heads
//   out     every rank gives back O of its heads to the rows' ranks
//
// Cached keys take part from where they lie. Every rank must keep the KV of its own rows.
#pragma once

#include <memory>
#include <vector>

#include "attention/head_slice.h"
#include "attention/prefill_attention.h"

namespace longspan {

class UspAttention final : public PrefillAttention {
 public:
  /// `island` divides the query heads; a group's size must be a multiple of it.
  UspAttention(Device& device, AttentionKernels& kernels, PrefillMemory& memory, int island);

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits,
                                     int island);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;

 protected:
  Cached cached(const SplitChunk&) const override { return Cached::kStay; }

 private:
  class Pass;  // one run

  int island_;
  std::vector<HeadSlice> slices_;                              // by place in the island
  std::vector<std::unique_ptr<AttentionKernels>> kernels_of_;  // for each slice
};

}  // namespace longspan

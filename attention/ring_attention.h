// Ring attention: every rank's keys visit every rank's queries (Ring Attention, arXiv 2310.01889;
// with balanced layouts, arXiv 2311.09431; over a paged cache, arXiv 2411.01783 "pass-KV").
//
// Queries stay, streams of keys go round. Each rank folds the stream that is passing into one
// running softmax, keeps the columns whose pages it owns, and passes the stream on while it
// computes. N ranks take N - 1 steps; a rank alone sends nothing; an empty stream is no message.
#pragma once

#include <array>
#include <cstdint>

#include "attention/prefill_attention.h"

namespace longspan {

/// Streams and memory of one trip round a ring.
struct RingTrip {
  const Group& group;
  const KvStreams& streams;
  float* own;                     // this rank's stream, packed
  std::array<float*, 2> landing;  // room for the longest stream each
};

/// Enqueues one trip: folds every stream of the group into `state`, in the order in which they
/// pass, and keeps what this rank keeps of them.
void travel_ring(Stream& compute, Stream& transfer, AttentionKernels& kernels, const RingTrip& trip,
                 const QueryRows& rows, RunningState state);

class RingAttention final : public PrefillAttention {
 public:
  using PrefillAttention::PrefillAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const PrefillLimits& limits);

  void run(Stream& compute, const Group& group, const SplitChunk& chunk, const KvPages& pages,
           const float* q, RunningState state) override;
};

}  // namespace longspan

// Prefill in which ranks attend rows that are not theirs, so that all score as many pairs.
//
// For strategies that pass keys on: every rank meets every key, so it can attend any row. Rows keep
// their rank for everything else; only their queries go to who attends them, and what came out of
// it back (row_deal.h says who).
//
//   home of a row    | choice | q out |                                  | O in |
//   who attends it   | choice | q in  | keys pass: the strategy as it is | O out |    time -->
//
// Messages are as long as the choice makes them, so the host waits for it, in every layer: the one
// wait of a step, and the price of balance (docs/decisions/0016-balance-waits-for-the-choice.md).
// Where rows lie evenly enough as they are, nothing moves.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/prefill_attention.h"

namespace longspan {

class RowBalancer {
 public:
  /// `block`: rows of a query block of the choice.
  RowBalancer(Device& device, const HeadShape& shape, const PrefillLimits& limits,
              std::int64_t block);
  static std::size_t memory_bytes(const HeadShape& shape, const PrefillLimits& limits,
                                  std::int64_t block);

  /// As `strategy.run`, of a chunk whose keys are chosen on `compute`.
  void run(PrefillAttention& strategy, Stream& compute, const Group& group, const SplitChunk& chunk,
           const KvPages& pages, const float* q, RunningState state);

 private:
  /// Rows that this rank and another have for each other: indices of own rows that go there, and of
  /// the rows attended here that come from there.
  struct Trade {
    std::vector<std::int64_t> out;
    std::vector<std::int64_t> in;
    float* out_rows = nullptr;
    float* in_rows = nullptr;
  };

  std::vector<int> deal(const Group& group, const SplitChunk& chunk);
  std::vector<Trade> trades(const SplitChunk& chunk, const std::vector<int>& rank_of) const;
  void gather(Stream& compute, const std::vector<std::int64_t>& rows, const float* from, float* to);
  void scatter(Stream& compute, const std::vector<std::int64_t>& rows, const float* from,
               float* to);
  std::int64_t width() const { return 1LL * shape_.query_heads * shape_.head_dim; }

  Device& device_;
  HeadShape shape_;
  std::int64_t block_;
  std::int64_t most_rows_;
  Buffer memory_;
  SplitChunk dealt_;  // the chunk with the rows attended here; of the last layer
};

}  // namespace longspan

// Attention of decode rows over keys that lie on several ranks: what every decode strategy offers,
// and the memory they take turns to use.
//
// A decode row is one new token; its keys never move. The strategies differ in who holds the row
// and in what travels: queries out and partials back, or partials alone. All give the same result,
// since attention over any partition of the keys, merged by log-sum-exp, equals attention over all
// of them.
#pragma once

#include <cstdint>
#include <memory>

#include "attention/decode_batch.h"
#include "attention/even_slice.h"
#include "attention/kernels.h"
#include "attention/kv_pages.h"
#include "comm/device.h"
#include "comm/group.h"

namespace longspan {

/// The most any step may ask of a rank.
struct DecodeLimits {
  int rows = 0;   // over all masters
  int ranks = 1;  // of the group
};

/// Memory of one rank's strategies. One of them runs at a time, and nothing is left in here from
/// one layer to the next: a run ends with the compute stream past the last exchange.
struct DecodeMemory {
  Buffer scratch;
  std::unique_ptr<Stream> transfer;  // last: drains before what its work touches goes
};

class DecodeAttention {
 public:
  /// Borrows everything.
  DecodeAttention(Device& device, AttentionKernels& kernels, DecodeMemory& memory)
      : device_(device), kernels_(kernels), memory_(memory) {}
  DecodeAttention(const DecodeAttention&) = delete;
  DecodeAttention& operator=(const DecodeAttention&) = delete;
  virtual ~DecodeAttention() = default;

  /// Enqueues attention of the rows that this rank holds over all their keys: of the rows it
  /// masters, or of all where rows are mirrored (mirrors_rows() in strategy.h). The new tokens' KV
  /// must be in their pages. `batch` must live until `compute` is past the call.
  ///   q:   (rows held here, query_heads, head_dim), in order of the batch
  ///   out: (rows held here, heads(batch).count, head_dim)
  virtual void run(Stream& compute, const Group& group, const DecodeBatch& batch,
                   const KvPages& pages, const float* q, float* out) = 0;

  /// The query heads whose results this rank gets.
  virtual Slice heads(const DecodeBatch&) const { return {0, kernels_.shape().query_heads}; }
  /// As AttentionKernels::bad_lse_total(), of merges by kernels of the strategy's own.
  virtual std::int64_t bad_lse_total() const { return 0; }

 protected:
  Stream& transfer() const { return *memory_.transfer; }
  /// Row `row` of the batch over the columns that this rank owns, which may be none.
  DecodeRow local_row(const DecodeBatch& batch, int row, const KvPages& pages, const float* q,
                      Partial out) const;

  Device& device_;
  AttentionKernels& kernels_;
  DecodeMemory& memory_;
};

}  // namespace longspan

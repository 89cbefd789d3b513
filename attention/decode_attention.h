// Distributed decode: queries travel to the keys, never the keys to the queries (LoongServe,
// arXiv 2404.09526, section 4.2; Infinite-LLM, arXiv 2401.02669).
//
//   master  q ------> owners of the row's pages        one message per peer, its rows packed
//           attends its own pages meanwhile
//   owner   attends its pages for the rows it got
//   master  <------- (O, lse) of those rows            one message per peer
//           merges the partials in rank order
//
// Every rank may be master of some rows and serve others in the same step. A row whose pages all
// lie with its master sends nothing. The rows of all ranks share one batch, which every rank knows:
// so both sides know what each message holds, and messages need no header.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/kernels.h"
#include "comm/device.h"
#include "comm/group.h"

namespace longspan {

/// One row of a decode step, as every rank of the group knows it.
struct DecodeBatchRow {
  int master = 0;                   // group index
  std::vector<int> owners;          // group indices with columns that the row sees, ascending
  std::vector<std::int32_t> slots;  // this rank's pages of the row, if it owns any
  std::int64_t first = 0;           // of this rank's columns, the first that the row sees
  std::int64_t columns = 0;         // this rank's columns of the row, the new token's included
};

/// The rows of one step, worked out once and used by every layer.
struct DecodeBatch {
  int rank = 0;  // this rank in the group
  int size = 1;  // of the group
  std::int64_t page_tokens = 1;
  std::vector<DecodeBatchRow> rows;

  /// Indices of the rows with `master` that need columns of `owner`, in order.
  std::vector<int> shipped(int master, int owner) const;
  /// Indices of the rows with `master`, in order.
  std::vector<int> mastered(int master) const;
};

class DecodeAttention {
 public:
  /// Memory for steps of up to `max_rows` rows over groups of up to `max_ranks`.
  DecodeAttention(Device& device, AttentionKernels& kernels, int max_rows, int max_ranks);
  static std::size_t memory_bytes(const HeadShape& shape, int max_rows, int max_ranks);

  /// Enqueues attention of the rows this rank masters over all their keys. The new tokens' KV must
  /// be in their pages. `batch` must live until `compute` is past the call.
  ///   q, out: (rows mastered here, query_heads, head_dim), in order of the batch
  void run(Stream& compute, const Group& group, const DecodeBatch& batch, const KvView& pages,
           const float* q, float* out);

 private:
  struct Peer;  // what is exchanged with one rank in one step

  Partial partial_at(float* memory, std::int64_t row, std::int64_t rows) const;
  DecodeRow local_row(const DecodeBatch& batch, int row, const KvView& pages, const float* q,
                      Partial out) const;
  std::vector<Peer> lay_out(const DecodeBatch& batch);
  void announce(Stream& compute, const Group& group, const DecodeBatch& batch,
                const std::vector<Peer>& peers, const float* q);
  void merge(Stream& compute, const DecodeBatch& batch, const std::vector<Peer>& peers, float* out);

  Device& device_;
  AttentionKernels& kernels_;
  int max_rows_;
  Buffer memory_;
  std::unique_ptr<Stream> transfer_;  // last: drains first
};

}  // namespace longspan

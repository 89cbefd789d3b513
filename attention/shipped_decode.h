// Decode with shipped queries: they travel to the keys, never the keys to the queries (LoongServe,
// arXiv 2404.09526, section 4.2; Infinite-LLM, arXiv 2401.02669).
//
//   master  q ------> owners of the row's pages        one message per peer, its rows packed
//           attends its own pages meanwhile
//   owner   attends its pages for the rows it got
//   master  <------- (O, lse) of those rows            one message per peer
//           merges the partials in rank order
//
// Every rank may be master of some rows and serve others in the same step. A row whose pages all
// lie with its master sends nothing.
#pragma once

#include <vector>

#include "attention/decode_attention.h"

namespace longspan {

class ShippedDecode final : public DecodeAttention {
 public:
  using DecodeAttention::DecodeAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const DecodeLimits& limits);

  void run(Stream& compute, const Group& group, const DecodeBatch& batch, const KvPages& pages,
           const float* q, float* out) override;

 private:
  struct Peer;  // what is exchanged with one rank in one step

  std::vector<Peer> lay_out(const DecodeBatch& batch);
  Event announce(Stream& compute, const Group& group, const DecodeBatch& batch,
                 const std::vector<Peer>& peers, const float* q);
  void merge(Stream& compute, const DecodeBatch& batch, const std::vector<Peer>& peers, float* out);
};

}  // namespace longspan

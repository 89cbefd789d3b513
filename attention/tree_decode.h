// Decode along a tree: the master's query goes down a binary tree of the row's owners, the partials
// come up it and are merged on the way.
//
//   level 0   master  q ->  one owner of the other half     the last exchange up
//   level 1   each    q ->  one owner of their other halves the last but one
//   ...       every owner attends its pages
//
// 2 x levels exchanges, one after the other, but no rank sends or merges more than one message per
// level and row: for large groups and small batches. Ranks that own no key of a row have no part in
// it.
#pragma once

#include "attention/decode_attention.h"

namespace longspan {

class TreeDecode final : public DecodeAttention {
 public:
  using DecodeAttention::DecodeAttention;

  static std::int64_t scratch_values(const HeadShape& shape, const DecodeLimits& limits);

  void run(Stream& compute, const Group& group, const DecodeBatch& batch, const KvPages& pages,
           const float* q, float* out) override;

 private:
  struct Link;
  struct Level;
  struct Plan;

  Plan lay_out(const DecodeBatch& batch, const float* q, float* out) const;
  void send_queries(const Group& group, const Plan& plan);
  void collect(Stream& compute, const Group& group, const Plan& plan);
};

}  // namespace longspan

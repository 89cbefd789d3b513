// What each strategy puts on the wire, and how much memory it lands in: exact, per rank and layer,
// for shards of any size. The volume tests hold the implementations to these functions.
//
// A message of zero bytes is none. Nothing is counted that retention moves, since it moves nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "attention/segment.h"
#include "attention/split_shape.h"
#include "attention/strategy.h"

namespace longspan {

/// The heads, and the bytes of a value of each kind on the wire.
struct WireShape {
  HeadShape heads;
  int value_bytes = 4;    // of Q, new K and V, and finished O
  int partial_bytes = 4;  // of O in a partial; its log-sum-exp is always 4
  /// The pages' type: cached K and V travel as they are at rest. Absent: as new ones.
  std::optional<KvType> at_rest = std::nullopt;
  bool narrow_columns = false;  // new K and V are bfloat16, whatever Q is

  /// K and V of one token, `kv_heads` heads of them or all.
  std::int64_t kv_bytes(int kv_heads) const {
    return 2LL * kv_heads * heads.head_dim * (narrow_columns ? 2 : value_bytes);
  }
  std::int64_t kv_bytes() const { return kv_bytes(heads.kv_heads); }
  /// One row of Q, or of finished O, `query_heads` heads of it or all.
  std::int64_t query_bytes(int query_heads) const {
    return 1LL * query_heads * heads.head_dim * value_bytes;
  }
  std::int64_t query_bytes() const { return query_bytes(heads.query_heads); }
  /// One row of a partial: O and log-sum-exp.
  std::int64_t partial_row_bytes() const {
    return 1LL * heads.query_heads * (heads.head_dim * partial_bytes + 4);
  }
};

/// KV heads that query heads [part * h, (part + 1) * h) read, h = query_heads / degree. They are
/// replicated in flight when `degree` exceeds what divides the KV heads (DeepSpeed Ulysses, arXiv
/// 2309.14509, extended to grouped queries).
int kv_heads_read(const HeadShape& heads, int degree, int part);

/// Rank j's stream as it leaves j, new columns and cached ones: all KV heads or some. What usp puts
/// together from several is as new ones from then on.
std::int64_t stream_bytes(int j, const SplitShape& shape, const WireShape& wire, int kv_heads);
std::int64_t stream_bytes(int j, const SplitShape& shape, const WireShape& wire);

struct Sent {
  std::int64_t bytes = 0;
  std::int64_t messages = 0;
};

/// What `rank` sends in one layer. `plan` is legal for the shape's size and the heads.
Sent sent_by(int rank, const PlannedStrategy& plan, const SplitShape& shape, const WireShape& wire);

/// Peak memory of `rank`, beyond its own Q, K, V and O, for what arrives.
std::int64_t staging_bytes(int rank, const PlannedStrategy& plan, const SplitShape& shape,
                           const WireShape& wire);

/// The same of the rank that needs most.
std::int64_t staging_bytes(const PlannedStrategy& plan, const SplitShape& shape,
                           const WireShape& wire);

}  // namespace longspan

#include "attention/decode_traffic.h"

#include <set>
#include <utility>

#include "attention/decode_tree.h"
#include "attention/even_slice.h"

namespace longspan {
namespace {

void add(Sent& sent, std::int64_t bytes) {
  sent.bytes += bytes;
  sent.messages += bytes > 0 ? 1 : 0;
}

/// Queries to the owners, partials to the masters.
Sent shipped(int rank, const DecodeBatch& batch, const WireShape& wire) {
  Sent sent;
  for (int peer = 0; peer < batch.size; ++peer) {
    if (peer == rank) continue;
    add(sent, std::ssize(batch.shipped(rank, peer)) * wire.query_bytes());
    add(sent, std::ssize(batch.shipped(peer, rank)) * wire.partial_row_bytes());
  }
  return sent;
}

Sent mirrored(int rank, const DecodeBatch& batch, const WireShape& wire) {
  Sent sent;
  for (int peer = 1; peer < batch.size; ++peer) {
    add(sent, std::ssize(batch.owned(rank)) * wire.partial_row_bytes());
  }
  return sent;
}

/// To each rank the heads that it finishes.
Sent sliced(int rank, const DecodeBatch& batch, const WireShape& wire) {
  Sent sent;
  for (int peer = 0; peer < batch.size; ++peer) {
    if (peer == rank) continue;
    const int heads = even_slice(wire.heads.query_heads, 1, peer, batch.size).count;
    add(sent,
        std::ssize(batch.owned(rank)) * heads * (wire.heads.head_dim * wire.partial_bytes + 4LL));
  }
  return sent;
}

/// A query to each child, a partial to the parent; rows that share a level and a peer share a
/// message.
Sent tree(int rank, const DecodeBatch& batch, const WireShape& wire) {
  Sent sent;
  std::set<std::pair<int, int>> down, up;  // level and peer
  for (int row : batch.owned(rank)) {
    const TreePlace place = tree_place(batch.rows[row].owners, batch.rows[row].master, rank);
    for (const TreePlace::Child& child : place.children) {
      sent.bytes += wire.query_bytes();
      down.emplace(child.level, child.rank);
    }
    if (place.parent < 0) continue;
    sent.bytes += wire.partial_row_bytes();
    up.emplace(place.level, place.parent);
  }
  sent.messages = std::ssize(down) + std::ssize(up);
  return sent;
}

}  // namespace

Sent decode_sent_by(int rank, DecodeStrategy strategy, const DecodeBatch& batch,
                    const WireShape& wire) {
  switch (strategy) {
    case DecodeStrategy::kShipped:
      return shipped(rank, batch, wire);
    case DecodeStrategy::kMirrored:
      return mirrored(rank, batch, wire);
    case DecodeStrategy::kTree:
      return tree(rank, batch, wire);
    case DecodeStrategy::kSliced:
      return sliced(rank, batch, wire);
  }
  __builtin_unreachable();
}

}  // namespace longspan

#include "attention/strategy_traffic.h"

#include <algorithm>
#include <array>

#include "attention/head_slice.h"
#include "attention/resting_columns.h"
#include "comm/error.h"

namespace longspan {
namespace {

class Counter {
 public:
  Counter(int rank, int inner, const SplitShape& shape, const WireShape& wire)
      : rank_(rank), inner_(inner), size_(shape.size()), shape_(shape), wire_(wire) {}

  /// Every stream but the successor's own goes to the successor.
  Sent ring() const {
    Sent sent;
    for (int j = 0; j < size_; ++j) {
      if (j != (rank_ + 1) % size_) add(sent, stream(j));
    }
    return sent;
  }

  Sent all_gather() const {
    Sent sent;
    for (int peer = 1; peer < size_; ++peer) add(sent, stream(rank_));
    return sent;
  }

  Sent query_ring() const {
    Sent sent = returned_partials();
    for (int j = 0; j < size_; ++j) {
      if (j != (rank_ + 1) % size_) add(sent, shape_.rows[j] * wire_.query_bytes());
    }
    return sent;
  }

  Sent gather_query() const {
    Sent sent = returned_partials();
    for (int j = 0; j < size_; ++j) {
      if (j != rank_ && serves(j)) add(sent, shape_.rows[rank_] * wire_.query_bytes());
    }
    return sent;
  }

  /// Heads for tokens inside a part, and back. One message per peer and way.
  Sent exchange_heads() const {
    Sent sent;
    const std::int64_t heads = wire_.query_bytes(wire_.heads.query_heads / inner_);
    for (int peer = part() * inner_; peer < (part() + 1) * inner_; ++peer) {
      if (peer == rank_) continue;
      const int kv_heads = kv_heads_read(wire_.heads, inner_, peer % inner_);
      add(sent, shape_.rows[rank_] * heads + stream_bytes(rank_, shape_, wire_, kv_heads));
      add(sent, shape_.rows[peer] * heads);
    }
    return sent;
  }

  /// Then the parts' keys, of this rank's heads, go round the parts.
  Sent usp() const {
    Sent sent = exchange_heads();
    const SplitShape parts = joined(shape_, inner_);
    const int kv_heads = kv_heads_read(wire_.heads, inner_, rank_ % inner_);
    for (int k = 0; k < parts.size(); ++k) {
      if (k != (part() + 1) % parts.size()) add(sent, parts.stream(k) * wire_.kv_bytes(kv_heads));
    }
    return sent;
  }

  /// Round the host: in every outer step all its ranks' streams but the successor's own. Round the
  /// hosts: what the ranks of this index hold, but the next host's own.
  Sent double_ring() const {
    Sent sent;
    const int hosts = size_ / inner_;
    const int index = rank_ % inner_;
    for (int host = 0; host < hosts; ++host) {
      for (int i = 0; i < inner_; ++i) {
        if (i != (index + 1) % inner_) add(sent, stream(host * inner_ + i));
      }
      if (host != (part() + 1) % hosts) add(sent, stream(host * inner_ + index));
    }
    return sent;
  }

 private:
  static void add(Sent& sent, std::int64_t bytes) {
    sent.bytes += bytes;
    sent.messages += bytes > 0 ? 1 : 0;
  }

  int part() const { return rank_ / inner_; }
  std::int64_t stream(int j) const { return stream_bytes(j, shape_, wire_); }
  /// Whether rank j has keys to attend.
  bool serves(int j) const { return shape_.stream(j) > 0; }

  Sent returned_partials() const {
    Sent sent;
    if (!serves(rank_)) return sent;
    for (int j = 0; j < size_; ++j) {
      if (j != rank_) add(sent, shape_.rows[j] * wire_.partial_row_bytes());
    }
    return sent;
  }

  const int rank_;
  const int inner_;
  const int size_;
  const SplitShape& shape_;
  const WireShape& wire_;
};

int inner_degree(const PlannedStrategy& plan, const SplitShape& shape, const WireShape& wire) {
  const int inner = plan.strategy == Strategy::kUlysses ? shape.size() : plan.inner;
  expects(inner >= 1 && shape.size() % inner == 0, "an inner degree divides the group");
  const bool by_heads = plan.strategy == Strategy::kUlysses || plan.strategy == Strategy::kUsp;
  expects(!by_heads || wire.heads.query_heads % inner == 0, "heads are dealt evenly");
  return inner;
}

/// Q and O of the part's rows with this rank's heads, and K and V of the part's columns.
std::int64_t head_slices(int rank, int inner, const SplitShape& parts, const WireShape& wire) {
  const std::int64_t rows = parts.rows[rank / inner];
  const std::int64_t columns = parts.stream(rank / inner);
  return 2 * rows * wire.query_bytes(wire.heads.query_heads / inner) +
         columns * wire.kv_bytes(kv_heads_read(wire.heads, inner, rank % inner));
}

std::int64_t longest_stream_bytes(const SplitShape& shape, const WireShape& wire) {
  std::int64_t most = 0;
  for (int j = 0; j < shape.size(); ++j) most = std::max(most, stream_bytes(j, shape, wire));
  return most;
}

std::int64_t all_stream_bytes(const SplitShape& shape, const WireShape& wire) {
  std::int64_t bytes = 0;
  for (int j = 0; j < shape.size(); ++j) bytes += stream_bytes(j, shape, wire);
  return bytes;
}

}  // namespace

int kv_heads_read(const HeadShape& heads, int degree, int part) {
  return slice_heads(heads, part, degree).shape.kv_heads;
}

std::int64_t stream_bytes(int j, const SplitShape& shape, const WireShape& wire, int kv_heads) {
  const std::int64_t rows = shape.rows[j] * wire.kv_bytes(kv_heads);
  if (!wire.at_rest) return rows + shape.cached[j] * wire.kv_bytes(kv_heads);
  HeadShape heads = wire.heads;
  heads.kv_heads = kv_heads;
  const std::array<Interval, 2> cached = shape.cached_columns(j);
  std::int64_t bytes = rows;
  for (const Interval& columns : cached) {
    bytes += resting_bytes(*wire.at_rest, heads, shape.page_tokens, columns, cached.back().end);
  }
  return bytes;
}

std::int64_t stream_bytes(int j, const SplitShape& shape, const WireShape& wire) {
  return stream_bytes(j, shape, wire, wire.heads.kv_heads);
}

Sent sent_by(int rank, const PlannedStrategy& plan, const SplitShape& shape,
             const WireShape& wire) {
  expects(rank >= 0 && rank < shape.size(), "a rank of the group");
  const Counter counter(rank, inner_degree(plan, shape, wire), shape, wire);
  switch (plan.strategy) {
    case Strategy::kRing:
      return counter.ring();
    case Strategy::kQueryRing:
      return counter.query_ring();
    case Strategy::kAllGather:
      return counter.all_gather();
    case Strategy::kGatherQuery:
      return counter.gather_query();
    case Strategy::kUlysses:
      return counter.exchange_heads();
    case Strategy::kUsp:
      return counter.usp();
    case Strategy::kDoubleRing:
      return counter.double_ring();
  }
  __builtin_unreachable();
}

std::int64_t staging_bytes(int rank, const PlannedStrategy& plan, const SplitShape& shape,
                           const WireShape& wire) {
  if (shape.size() == 1) return 0;
  const int inner = inner_degree(plan, shape, wire);
  const std::int64_t query = wire.query_bytes(), partial = wire.partial_row_bytes();
  const std::int64_t slots = shape.size() * shape.rows[rank] * partial;  // a partial per rank
  switch (plan.strategy) {
    case Strategy::kRing:  // two streams that pass
      return 2 * longest_stream_bytes(shape, wire);
    case Strategy::kQueryRing:
      return 2 * shape.most_rows() * (query + partial) + slots;
    case Strategy::kAllGather:
      return all_stream_bytes(shape, wire) - stream_bytes(rank, shape, wire);
    case Strategy::kGatherQuery:
      return shape.new_tokens() * (query + partial) + slots;
    case Strategy::kUlysses:
      return head_slices(rank, inner, joined(shape, inner), wire);
    case Strategy::kUsp: {
      const SplitShape parts = joined(shape, inner);
      const int kv_heads = kv_heads_read(wire.heads, inner, rank % inner);
      return head_slices(rank, inner, parts, wire) +
             2 * parts.longest_stream() * wire.kv_bytes(kv_heads);
    }
    case Strategy::kDoubleRing:  // two that pass round the host, one that passes round the hosts
      return 3 * longest_stream_bytes(shape, wire);
  }
  __builtin_unreachable();
}

std::int64_t staging_bytes(const PlannedStrategy& plan, const SplitShape& shape,
                           const WireShape& wire) {
  std::int64_t most = 0;
  for (int rank = 0; rank < shape.size(); ++rank) {
    most = std::max(most, staging_bytes(rank, plan, shape, wire));
  }
  return most;
}

}  // namespace longspan

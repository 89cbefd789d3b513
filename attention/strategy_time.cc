#include "attention/strategy_time.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "comm/error.h"

namespace longspan {
namespace {

using Times = std::vector<double>;  // one per rank

double latest(const Times& times) { return *std::ranges::max_element(times); }

/// Streams go round the ranks once: attended from `start` on, sent once a rank's port is free.
/// attend(r, j): seconds of rank r with stream j; hop(from, to, j): seconds of stream j on its way.
/// Returns when each rank has attended to all.
template <typename Attend, typename Hop>
Times pass_round(const Times& start, const Times& port_free, const Attend& attend, const Hop& hop) {
  const int size = static_cast<int>(start.size());
  Times linked = port_free;  // when a rank's last exchange was over
  std::vector<Times> finish(size, Times(size));
  for (int r = 0; r < size; ++r) finish[0][r] = start[r] + attend(r, r);
  for (int step = 1; step < size; ++step) {
    Times ready = linked;
    for (int r = 0; r < size && step >= 3; ++r) {
      ready[r] = std::max(ready[r], finish[step - 2][r]);  // has read what lands on it now
    }
    Times arrival(size);
    for (int r = 0; r < size; ++r) {
      const int previous = (r + size - 1) % size;
      arrival[r] = std::max(ready[previous], ready[r]) + hop(previous, r, (r + size - step) % size);
    }
    for (int r = 0; r < size; ++r) {
      linked[r] = std::max(arrival[r], arrival[(r + 1) % size]);
      finish[step][r] =
          std::max(finish[step - 1][r], linked[r]) + attend(r, (r + size - step) % size);
    }
  }
  return finish[size - 1];
}

class TimeModel {
 public:
  TimeModel(int inner, const SplitShape& shape, const WireShape& wire, std::span<const int> hosts,
            const MachineRates& rates)
      : inner_(inner),
        size_(shape.size()),
        shape_(shape),
        wire_(wire),
        hosts_(hosts),
        rates_(rates) {}

  double ring() const {
    const Times ready = packed();
    return latest(pass_round(
        ready, ready, [&](int r, int j) { return attend(r, j); },
        [&](int from, int to, int j) { return message(from, to, stream_bytes(j)); }));
  }

  /// Every rank pushes its stream to one peer after another; one launch attends as they arrive.
  double all_gather() const {
    Times sent = packed(), finish = sent, arrived(size_);
    for (int r = 0; r < size_; ++r) finish[r] += attend(r, r);
    for (int step = 1; step < size_; ++step) {
      for (int r = 0; r < size_; ++r) {
        sent[r] += message(r, (r + step) % size_, stream_bytes(r));
      }
      for (int r = 0; r < size_; ++r) {
        const int source = (r + size_ - step) % size_;
        arrived[r] = std::max(sent[source], arrived[r] + message(source, r, stream_bytes(source)));
        const bool launched = shape_.rows[r] > 0;
        const double work = attend(r, source);
        finish[r] = std::max(finish[r], arrived[r]) +
                    std::max(0.0, work - (launched ? rates_.launch_seconds : 0));
      }
    }
    return latest(finish);
  }

  /// A step's message is the rows that come and the partial of those that were there before; the
  /// port is shared, and the last return is exposed.
  double query_ring() const {
    // A rank without keys returns nothing.
    const auto back = [&](int from, int owner) {
      const std::int64_t rows = shape_.stream(from) > 0 ? shape_.rows[owner] : 0;
      return message(from, owner, rows * wire_.partial_row_bytes());
    };
    const Times zero(size_);
    const Times finish = pass_round(
        zero, zero, [&](int r, int j) { return attend(j, r); },
        [&](int from, int to, int j) {
          return message(from, to, shape_.rows[j] * wire_.query_bytes()) + back(to, j);
        });
    double end = 0;
    for (int r = 0; r < size_; ++r) {
      const int previous = (r + size_ - 1) % size_;
      const double returned = size_ == 1 ? 0 : finish[previous] + back(previous, r);
      end = std::max(end, std::max(finish[r], returned) + merge(r));
    }
    return end;
  }

  double gather_query() const {
    // A rank without keys gets no queries and returns nothing.
    const auto gathered = [&](int from, int to) {
      return shape_.stream(to) > 0 ? shape_.rows[from] * wire_.query_bytes() : 0;
    };
    const auto returned = [&](int from, int to) {
      return shape_.stream(from) > 0 ? shape_.rows[to] * wire_.partial_row_bytes() : 0;
    };
    double compute = 0, merging = 0;
    for (int r = 0; r < size_; ++r) {
      std::int64_t full = 0, masked = 0;
      for (int j = 0; j < size_; ++j) {
        full += shape_.full_pairs(j, r);
        masked += shape_.masked_pairs(j, r);
      }
      // Own queries join the others'; partials of all rows are taken apart again.
      const std::int64_t rows = shape_.stream(r) > 0 ? shape_.new_tokens() : 0;
      const double copying =
          size_ == 1
              ? 0
              : copy(shape_.rows[r] * wire_.query_bytes() + rows * wire_.partial_row_bytes());
      compute = std::max(compute, attend(shape_.new_tokens(), full, masked, all_heads()) + copying);
      merging = std::max(merging, merge(r));
    }
    return everybody(0, size_, gathered) + compute + everybody(0, size_, returned) + merging;
  }

  /// Ulysses is this with one part.
  double usp() const {
    const SplitShape parts = joined(shape_, inner_);
    const int heads = all_heads() / inner_;
    const auto in = [&](int from, int to) {
      return shape_.rows[from] * wire_.query_bytes(heads) +
             longspan::stream_bytes(from, shape_, wire_, kv_heads(to));
    };
    const auto out = [&](int, int to) { return shape_.rows[to] * wire_.query_bytes(heads); };
    Times start(parts.size()), end(parts.size());
    for (int k = 0; k < parts.size(); ++k) {
      start[k] = copy_in(k * inner_, in) + everybody(k * inner_, inner_, in);
    }
    for (int u = 0; u < inner_; ++u) {
      const Times finish = pass_round(
          start, start,
          [&](int k, int j) {
            return attend(parts.rows[k], parts.full_pairs(k, j), parts.masked_pairs(k, j), heads,
                          inner_);
          },
          [&](int from, int to, int j) {
            return message(from * inner_ + u, to * inner_ + u,
                           parts.stream(j) * wire_.kv_bytes(kv_heads(u)));
          });
      for (int k = 0; k < parts.size(); ++k) end[k] = std::max(end[k], finish[k]);
    }
    for (int k = 0; k < parts.size(); ++k) {
      end[k] += everybody(k * inner_, inner_, out) + copy_out(k * inner_);
    }
    return latest(end);
  }

  /// While streams go round a host, the one each rank began with is on its way to the next host.
  /// Where the next "host" is the same one, both use a rank's one port, that message first.
  double double_ring() const {
    const int hosts = size_ / inner_;
    Times begin = packed();
    for (int outer = 0; outer < hosts; ++outer) {
      const bool last = outer + 1 == hosts;
      Times next(size_), arrived(size_), port_free = begin;
      for (int rank = 0; rank < size_ && !last; ++rank) {
        const int giver = (rank + size_ - inner_) % size_;
        const int coming = (giver + size_ - outer * inner_) % size_;
        arrived[rank] =
            std::max(begin[rank], begin[giver]) + message(giver, rank, stream_bytes(coming));
        if (hosts_[giver] != hosts_[rank]) continue;
        for (int end : {giver, rank}) port_free[end] = std::max(port_free[end], arrived[rank]);
      }
      for (int first = 0; first < size_; first += inner_) {
        const int held = (first + size_ - outer * inner_) % size_;  // whose streams go round here
        const auto of_host = [&](const Times& all) {
          return Times(all.begin() + first, all.begin() + first + inner_);
        };
        const Times finish = pass_round(
            of_host(begin), of_host(port_free),
            [&](int r, int j) { return attend(first + r, held + j); },
            [&](int from, int to, int j) {
              return message(first + from, first + to, stream_bytes(held + j));
            });
        for (int i = 0; i < inner_; ++i) next[first + i] = std::max(finish[i], arrived[first + i]);
      }
      begin = next;
    }
    return latest(begin);
  }

 private:
  int all_heads() const { return wire_.heads.query_heads; }
  int kv_heads(int rank) const { return kv_heads_read(wire_.heads, inner_, rank % inner_); }
  std::int64_t stream_bytes(int j) const { return longspan::stream_bytes(j, shape_, wire_); }

  const LinkRate& link(int from, int to) const {
    return hosts_[from] == hosts_[to] ? rates_.inside_host : rates_.between_hosts;
  }

  double message(int from, int to, std::int64_t bytes) const {
    return bytes == 0 ? 0 : link(from, to).seconds(bytes);
  }

  double copy(std::int64_t bytes) const {
    return static_cast<double>(bytes) / rates_.copy_bytes_per_second;
  }

  /// When each rank has its cached columns in its stream, as a rank alone does not need them.
  Times packed() const {
    Times ready(size_);
    for (int r = 0; r < size_ && size_ > 1; ++r) {
      ready[r] = copy(stream_bytes(r) - shape_.rows[r] * wire_.kv_bytes());
    }
    return ready;
  }

  /// Each rank of a part puts what it has into messages, and takes apart what it gets.
  template <typename BytesOf>
  double copy_in(int first, const BytesOf& bytes_of) const {
    double slowest = 0;
    for (int r = first; r < first + inner_; ++r) {
      std::int64_t bytes = 0;
      for (int peer = first; peer < first + inner_; ++peer) {
        bytes += bytes_of(r, peer) + (peer == r ? 0 : bytes_of(peer, r));
      }
      slowest = std::max(slowest, copy(bytes));
    }
    return slowest;
  }

  double copy_out(int first) const {
    std::int64_t rows = 0;
    for (int r = first; r < first + inner_; ++r) rows = std::max(rows, shape_.rows[r]);
    return copy(rows * wire_.query_bytes());
  }

  /// 4 FLOP per pair, head and value: two products of a multiplication and an addition each. With
  /// one of `parts` parts of all heads.
  double attend(std::int64_t rows, std::int64_t full, std::int64_t masked, int heads,
                int parts = 1) const {
    if (full + masked == 0) return 0;
    const double pairs =
        static_cast<double>(full) + static_cast<double>(masked) / rates_.masked_share;
    return pairs * 4 * heads * wire_.heads.head_dim /
               rates_.attention_flops_per_second(rows, parts) +
           rates_.launch_seconds;
  }

  /// Rows of rank r and keys of rank j.
  double attend(int r, int j) const {
    return attend(shape_.rows[r], shape_.full_pairs(r, j), shape_.masked_pairs(r, j), all_heads());
  }

  /// Reads a partial of every rank, writes one.
  double merge(int rank) const {
    const std::int64_t row = 4LL * all_heads() * (wire_.heads.head_dim + 1);
    const std::int64_t partials = size_ == 1 ? 0 : size_ + 1;
    return static_cast<double>(partials * shape_.rows[rank] * row) / rates_.merge_bytes_per_second;
  }

  /// One exchange in which each of `count` ranks has something for each other one, until the last
  /// is done. The messages share a rank's port but not their latencies: they all start at once.
  template <typename BytesOf>
  double everybody(int first, int count, const BytesOf& bytes_of) const {
    double slowest = 0;
    for (int r = first; r < first + count; ++r) {
      double latency = 0, out = 0, in = 0;
      for (int peer = first; peer < first + count; ++peer) {
        const std::int64_t to_peer = bytes_of(r, peer), from_peer = bytes_of(peer, r);
        if (peer == r || to_peer + from_peer == 0) continue;
        latency = std::max(latency, link(r, peer).latency_seconds);
        out += static_cast<double>(to_peer) / link(r, peer).bytes_per_second;
        in += static_cast<double>(from_peer) / link(r, peer).bytes_per_second;
      }
      slowest = std::max(slowest, latency + std::max(out, in));
    }
    return slowest;
  }

  const int inner_;
  const int size_;
  const SplitShape& shape_;
  const WireShape& wire_;
  const std::span<const int> hosts_;
  const MachineRates& rates_;
};

/// A model that was out by so many seconds is out by as many again; but where it was too slow, and
/// says less of this chunk, by its share at most.
double corrected(double modelled, const ProbedChunk& probe) {
  const double difference = probe.measured_seconds - probe.modelled_seconds;
  if (difference >= 0) return modelled + difference;
  return modelled + difference * std::min(1.0, modelled / probe.modelled_seconds);
}

/// Where a number of pages lies among those of a grid: between point `below` and the next, so much
/// of the way, by its logarithm.
struct Place {
  std::size_t below;
  double share;
};

Place place_of(double pages, const std::vector<std::int64_t>& points) {
  const auto at = [&](std::size_t i) { return std::log(1 + static_cast<double>(points[i])); };
  const double wanted = std::log(1 + pages);
  std::size_t i = 0;
  while (i + 2 < points.size() && at(i + 1) <= wanted) ++i;
  if (points.size() == 1) return {0, 0};
  return {i, std::clamp((wanted - at(i)) / (at(i + 1) - at(i)), 0.0, 1.0)};
}

/// The chunk as it would be in the grid's pages, dealt round the ranks. Where some ranks have no
/// rows it counts how many have, and that they speak to each other: only where all is on one rank
/// is there nothing to send, cached or not.
struct InPages {
  double added;
  double cached;
};

InPages in_pages(const SplitShape& shape) {
  int asking = 0, serving = 0;
  for (int r = 0; r < shape.size(); ++r) {
    if (shape.rows[r] > 0) ++asking;
    if (shape.stream(r) > 0) ++serving;
  }
  const auto pages = [](std::int64_t tokens) {
    return static_cast<double>(tokens) / ProbeGrid::kPageTokens;
  };
  const double added = pages(shape.new_tokens());
  const double cached = pages(shape.columns() - shape.new_tokens());
  if (asking == shape.size()) return {std::max(added, 1.0 * asking), cached};
  return {1.0 * asking, serving > 1 ? std::max(cached, 1.0 * serving) : 0};
}

/// As the four probes around the chunk say; beyond the grid, those at its edge.
double corrected(double modelled, const SplitShape& shape, const ProbeGrid& grid,
                 const ProbedStrategy& probed) {
  const InPages pages = in_pages(shape);
  const Place added = place_of(pages.added, grid.new_pages);
  const Place cached = place_of(pages.cached, grid.cached_pages);
  const auto at = [&](std::size_t row, std::size_t column) {
    row = std::min(row, grid.new_pages.size() - 1);
    column = std::min(column, grid.cached_pages.size() - 1);
    return corrected(modelled, probed.chunks[row * grid.cached_pages.size() + column]);
  };
  const auto along = [&](std::size_t row) {
    return std::lerp(at(row, cached.below), at(row, cached.below + 1), cached.share);
  };
  return std::lerp(along(added.below), along(added.below + 1), added.share);
}

}  // namespace

double modelled_seconds(const PlannedStrategy& plan, const SplitShape& shape, const WireShape& wire,
                        std::span<const int> hosts, const MachineRates& rates) {
  expects(std::ssize(hosts) == shape.size() && shape.size() >= 1, "a host for each rank");
  const int inner = plan.strategy == Strategy::kUlysses ? shape.size() : plan.inner;
  expects(inner >= 1 && shape.size() % inner == 0, "an inner degree divides the group");
  const TimeModel model(inner, shape, wire, hosts, rates);
  switch (plan.strategy) {
    case Strategy::kRing:
      return model.ring();
    case Strategy::kQueryRing:
      return model.query_ring();
    case Strategy::kAllGather:
      return model.all_gather();
    case Strategy::kGatherQuery:
      return model.gather_query();
    case Strategy::kUlysses:
    case Strategy::kUsp:
      return model.usp();
    case Strategy::kDoubleRing:
      return model.double_ring();
  }
  __builtin_unreachable();
}

double predicted_seconds(const PlannedStrategy& plan, const SplitShape& shape,
                         const WireShape& wire, std::span<const int> hosts,
                         const MachineRates& rates) {
  const double modelled = modelled_seconds(plan, shape, wire, hosts, rates);
  const auto probed = std::ranges::find(rates.probed, plan, &ProbedStrategy::plan);
  return probed == rates.probed.end() ? modelled : corrected(modelled, shape, rates.grid, *probed);
}

}  // namespace longspan

#include "attention/row_balancer.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "attention/row_deal.h"
#include "attention/scratch.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr double kEvenEnough = 1.05;

/// Of any rank: twice an even share, and what rounding to blocks adds.
std::int64_t most_rows(const PrefillLimits& limits, std::int64_t block) {
  const std::int64_t share = (limits.all_rows + limits.ranks - 1) / limits.ranks;
  return std::min(limits.all_rows, 2 * share + block);
}

/// Queries, results and running softmax of the rows attended, and messages both ways, of which
/// every peer may begin on a line of its own.
std::int64_t memory_values(const HeadShape& shape, const PrefillLimits& limits,
                           std::int64_t block) {
  const std::int64_t width = 1LL * shape.query_heads * shape.head_dim;
  const std::int64_t rows = most_rows(limits, block);
  return 3 * area_values(rows * width) + 2 * area_values(rows * shape.query_heads) +
         area_values(limits.rows * width) + 2 * limits.ranks * area_values(1);
}

/// visit(first, count) of each run of consecutive numbers in `rows`.
template <typename Visit>
void for_each_run(const std::vector<std::int64_t>& rows, const Visit& visit) {
  for (std::size_t i = 0, end = 0; i < rows.size(); i = end) {
    while (++end < rows.size() && rows[end] == rows[end - 1] + 1) {
    }
    visit(rows[i], static_cast<std::int64_t>(end - i));
  }
}

}  // namespace

RowBalancer::RowBalancer(Device& device, const HeadShape& shape, const PrefillLimits& limits,
                         std::int64_t block)
    : device_(device),
      shape_(shape),
      block_(block),
      most_rows_(most_rows(limits, block)),
      memory_(device.allocate(sizeof(float) * memory_values(shape, limits, block))) {}

std::size_t RowBalancer::memory_bytes(const HeadShape& shape, const PrefillLimits& limits,
                                      std::int64_t block) {
  return sizeof(float) * memory_values(shape, limits, block);
}

/// The rank of each query block, the same on every rank; nothing where rows lie evenly already.
std::vector<int> RowBalancer::deal(const Group& group, const SplitChunk& chunk) {
  const std::int64_t tokens = chunk.all_rows();
  std::vector<std::int64_t> at_home(chunk.size()), anew(chunk.size());
  for (int rank = 0; rank < chunk.size(); ++rank) {
    for (std::int64_t position : chunk.streams[rank].positions()) {
      at_home[rank] += chosen_pairs(chunk.choice, shape_, position);
    }
  }
  const std::vector<std::int64_t> pairs = block_pairs(chunk.choice, shape_, tokens);
  const std::vector<int> rank_of = deal_blocks({.pairs = pairs,
                                                .block = block_,
                                                .tokens = tokens,
                                                .ranks = chunk.size(),
                                                .most_rows = most_rows_});
  for (std::size_t block = 0; block < pairs.size(); ++block) anew[rank_of[block]] += pairs[block];
  const bool moves = imbalance(at_home) > kEvenEnough && imbalance(anew) < imbalance(at_home);
  if (group.rank() == 0) {
    const double causal = 0.5 * static_cast<double>(tokens * (tokens + 1)) * shape_.query_heads;
    const auto chosen = std::accumulate(pairs.begin(), pairs.end(), std::int64_t{0});
    log(LogLevel::kDebug,
        str("{:.1f} % of the causal pairs; the fullest rank over the mean: {:.3f} as dealt, {:.3f} "
            "dealt anew; rows {}",
            100 * static_cast<double>(chosen) / causal, imbalance(at_home), imbalance(anew),
            moves ? "move" : "stay"));
  }
  return moves ? rank_of : std::vector<int>{};
}

/// By rank.
std::vector<RowBalancer::Trade> RowBalancer::trades(const SplitChunk& chunk,
                                                    const std::vector<int>& rank_of) const {
  std::vector<Trade> list(chunk.size());
  for (int home = 0; home < chunk.size(); ++home) {
    const std::vector<std::int64_t> positions = chunk.streams[home].positions();
    for (std::size_t row = 0; row < positions.size(); ++row) {
      const int rank = rank_of[positions[row] / block_];
      if (home == chunk.rank) list[rank].out.push_back(static_cast<std::int64_t>(row));
      if (rank != chunk.rank) continue;
      const auto at = std::ranges::lower_bound(dealt_.positions, positions[row]);
      list[home].in.push_back(at - dealt_.positions.begin());
    }
  }
  return list;
}

void RowBalancer::gather(Stream& compute, const std::vector<std::int64_t>& rows, const float* from,
                         float* to) {
  for_each_run(rows, [&](std::int64_t first, std::int64_t count) {
    device_.copy(compute, message_bytes(to, count * width()),
                 message_bytes(from + first * width(), count * width()));
    to += count * width();
  });
}

void RowBalancer::scatter(Stream& compute, const std::vector<std::int64_t>& rows, const float* from,
                          float* to) {
  for_each_run(rows, [&](std::int64_t first, std::int64_t count) {
    device_.copy(compute, message_bytes(to + first * width(), count * width()),
                 message_bytes(from, count * width()));
    from += count * width();
  });
}

void RowBalancer::run(PrefillAttention& strategy, Stream& compute, const Group& group,
                      const SplitChunk& chunk, const KvPages& pages, const float* q,
                      RunningState state) {
  compute.synchronize();
  const std::vector<int> rank_of = deal(group, chunk);
  if (rank_of.empty()) return strategy.run(compute, group, chunk, pages, q, state);

  dealt_ = chunk;
  dealt_.positions.clear();
  for (std::int64_t position = 0; position < chunk.all_rows(); ++position) {
    if (rank_of[position / block_] == chunk.rank) dealt_.positions.push_back(position);
  }
  const std::int64_t rows = std::ssize(dealt_.positions);
  Scratch scratch(memory_);
  float* attended_q = scratch.take(rows * width());
  const RunningState attended{scratch.take(rows * width()), scratch.take(rows * shape_.query_heads),
                              scratch.take(rows * shape_.query_heads)};
  std::vector<Trade> list = trades(chunk, rank_of);
  const auto bytes = [&](const std::vector<std::int64_t>& of_rows, float* memory) {
    return message_bytes(memory, std::ssize(of_rows) * width());
  };
  for (Trade& trade : list) {
    trade.out_rows = scratch.take(std::ssize(trade.out) * width());
    trade.in_rows = scratch.take(std::ssize(trade.in) * width());
  }

  /// What lies in `out_rows` of each goes there, what comes lands in `in_rows`; or the other way.
  const auto exchange = [&](bool back) {
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int j = 0; j < chunk.size(); ++j) {
      if (j == chunk.rank) continue;
      const Trade& trade = list[j];
      const Bytes out = bytes(trade.out, trade.out_rows), in = bytes(trade.in, trade.in_rows);
      sends.push_back({j, back ? in : out});
      receives.push_back({j, back ? out : in});
    }
    Trade& self = list[chunk.rank];
    const Bytes out = bytes(self.out, self.out_rows), in = bytes(self.in, self.in_rows);
    device_.copy(compute, back ? out : in, back ? in : out);
    group.exchange(compute, std::move(sends), std::move(receives));
  };
  for (const Trade& trade : list) gather(compute, trade.out, q, trade.out_rows);
  exchange(false);
  for (const Trade& trade : list) scatter(compute, trade.in, trade.in_rows, attended_q);
  strategy.run(compute, group, dealt_, pages, attended_q, attended);
  for (const Trade& trade : list) gather(compute, trade.in, attended.acc, trade.in_rows);
  exchange(true);
  for (const Trade& trade : list) scatter(compute, trade.out, trade.out_rows, state.acc);
}

}  // namespace longspan

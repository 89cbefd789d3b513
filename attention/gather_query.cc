#include "attention/gather_query.h"

#include <utility>
#include <vector>

#include "attention/query_ring.h"
#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {

//   transfer | Q[r] to all, all Q in |
//   compute  |                       | all Q x KV[r] | partials back | merge      time -->
//
// A rank without a stream has nothing to attend: it gets no queries and returns nothing.

std::int64_t GatherQuery::scratch_values(const HeadShape& shape, const PrefillLimits& limits) {
  if (limits.ranks == 1) return 0;
  const std::int64_t gathered = area_values(limits.all_rows * query_values(shape));
  const std::int64_t heads = area_values(limits.all_rows * shape.query_heads);
  const std::int64_t back = area_values(limits.rows * partial_values(shape));
  return 2 * gathered + 2 * heads + 2 * (limits.ranks - 1) * back;
}

void GatherQuery::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                      const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  expects(chunk.keeps_its_own(), "with travelling queries each rank keeps its own rows' KV");
  const HeadShape& shape = kernels_.shape();
  const int size = chunk.size(), rank = chunk.rank;
  const std::int64_t width = query_values(shape), own_rows = chunk.own().rows;
  const KvStreams streams = this->streams(chunk, pages);
  if (size == 1) {
    kernels_.attend_whole(compute, {.q = q, .positions = chunk.positions},
                          {{{}, streams.segments(rank, own(), chunk.positions)}}, state, false);
    streams.keep(compute, rank, own());
    return;
  }

  // All rows, rank after rank.
  const std::int64_t all_rows = chunk.all_rows();
  std::vector<std::int64_t> first_row(size + 1, 0), positions;
  for (int j = 0; j < size; ++j) {
    first_row[j + 1] = first_row[j] + chunk.streams[j].rows;
    const std::vector<std::int64_t> of_rank = chunk.streams[j].positions();
    positions.insert(positions.end(), of_rank.begin(), of_rank.end());
  }
  Scratch scratch(memory_.scratch);
  float* all_q = scratch.take(all_rows * width);
  const RunningState all{scratch.take(all_rows * width), scratch.take(all_rows * shape.query_heads),
                         scratch.take(all_rows * shape.query_heads)};
  std::vector<float*> outgoing(size), returned(size);
  for (int j = 0; j < size; ++j) {
    if (j == rank) continue;
    outgoing[j] = scratch.take(chunk.streams[j].rows * partial_values(shape));
    returned[j] = scratch.take(own_rows * partial_values(shape));
  }
  const auto others_that = [&](auto&& send_to, auto&& receive_from) {
    std::pair<std::vector<Send>, std::vector<Receive>> lists;
    for (int j = 0; j < size; ++j) {
      if (j == rank) continue;
      send_to(j, lists.first);
      receive_from(j, lists.second);
    }
    return lists;
  };
  const auto serves = [&](int j) { return chunk.streams[j].columns() > 0; };

  auto [queries_out, queries_in] = others_that(
      [&](int j, std::vector<Send>& sends) {
        if (serves(j)) sends.push_back({j, message_bytes(q, own_rows * width)});
      },
      [&](int j, std::vector<Receive>& receives) {
        if (!serves(rank)) return;
        receives.push_back(
            {j, message_bytes(all_q + first_row[j] * width, chunk.streams[j].rows * width)});
      });
  transfer().wait(compute.record());
  group.exchange(transfer(), std::move(queries_out), std::move(queries_in));
  device_.copy(compute, message_bytes(all_q + first_row[rank] * width, own_rows * width),
               message_bytes(q, own_rows * width));
  compute.wait(transfer().record());

  if (serves(rank)) {
    kernels_.attend_whole(compute, {.q = all_q, .positions = positions},
                          {{{}, streams.segments(rank, own(), positions)}}, all, false);
  }
  streams.keep(compute, rank, own());
  /// The partial of rank j's rows, as one piece.
  const auto gather_partial = [&](int j, Partial to) {
    const std::int64_t heads = shape.query_heads, rows = chunk.streams[j].rows;
    device_.copy(compute, message_bytes(to.o, rows * width),
                 message_bytes(all.acc + first_row[j] * width, rows * width));
    device_.copy(compute, message_bytes(to.lse, rows * heads),
                 message_bytes(all.m + first_row[j] * heads, rows * heads));
  };
  if (serves(rank)) {
    for (int j = 0; j < size; ++j) {
      gather_partial(j, j == rank ? Partial{state.acc, state.m}
                                  : partial_at(outgoing[j], chunk.streams[j].rows, shape));
    }
  }

  auto [partials_out, partials_in] = others_that(
      [&](int j, std::vector<Send>& sends) {
        if (!serves(rank)) return;
        sends.push_back(
            {j, message_bytes(outgoing[j], chunk.streams[j].rows * partial_values(shape))});
      },
      [&](int j, std::vector<Receive>& receives) {
        if (!serves(j)) return;
        receives.push_back({j, message_bytes(returned[j], own_rows * partial_values(shape))});
      });
  group.exchange(compute, std::move(partials_out), std::move(partials_in));
  merge_returned(compute, kernels_, chunk, returned, state);
}

}  // namespace longspan

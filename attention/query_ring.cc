#include "attention/query_ring.h"

#include <array>
#include <utility>
#include <vector>

#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {
namespace {

//   step t     r holds the queries of rank r - t
//   transfer | Q[r] out, Q[r-1] in | Q[r-1] out, Q[r-2] in | Q[r-2] out ..., partial of step 1 back
//   compute  | Q[r] x KV[r]        | Q[r-1] x KV[r]        | Q[r-2] x KV[r]        time -->
//
// The exchange of step t passes the queries on and returns the partial of step t - 1, so it waits
// for the compute of step t - 1. That one wait also frees the landing area, whose queries step
// t - 1 read. The partial of step t overwrites that of step t - 2, which left in the exchange that
// brought the queries of step t.

struct Turn {
  float* q;        // where passing queries land
  float* partial;  // (O, lse) on its way back
  float* l;        // of the running softmax; stays here
};

}  // namespace

void merge_returned(Stream& compute, AttentionKernels& kernels, const SplitChunk& chunk,
                    const std::vector<float*>& returned, RunningState state) {
  const std::int64_t rows = chunk.own().rows;
  const Partial own{state.acc, state.m};
  std::vector<Partial> partials;
  for (int j = 0; j < chunk.size(); ++j) {
    if (j == chunk.rank) {
      partials.push_back(own);
    } else if (chunk.streams[j].columns() > 0) {
      partials.push_back(partial_at(returned[j], rows, kernels.shape()));
    }
  }
  if (partials.size() > 1) kernels.merge(compute, std::move(partials), own, rows);
}

std::int64_t QueryRing::scratch_values(const HeadShape& shape, const PrefillLimits& limits) {
  if (limits.ranks == 1) return 0;
  const std::int64_t turn = area_values(limits.rows * query_values(shape)) +
                            area_values(limits.rows * partial_values(shape)) +
                            area_values(limits.rows * shape.query_heads);
  return 2 * turn + (limits.ranks - 1) * area_values(limits.rows * partial_values(shape));
}

void QueryRing::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                    const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  expects(chunk.keeps_its_own(), "with travelling queries each rank keeps its own rows' KV");
  const HeadShape& shape = kernels_.shape();
  const int size = chunk.size(), rank = chunk.rank;
  const KvStreams streams = this->streams(chunk, pages);
  const bool serves = chunk.own().columns() > 0;
  const auto rows_of = [&](int j) { return chunk.streams[j].rows; };

  std::int64_t most = 0;
  for (int j = 0; j < size; ++j) most = std::max(most, rows_of(j));
  Scratch scratch(memory_.scratch);
  std::array<Turn, 2> turns{};
  std::vector<float*> returned(size, nullptr);
  if (size > 1) {
    for (Turn& turn : turns) {
      turn = {scratch.take(most * query_values(shape)), scratch.take(most * partial_values(shape)),
              scratch.take(most * shape.query_heads)};
    }
    for (int j = 0; j < size; ++j) {
      if (j != rank) returned[j] = scratch.take(rows_of(rank) * partial_values(shape));
    }
  }

  const auto queries = [&](int source, const float* memory) {
    return message_bytes(memory, rows_of(source) * query_values(shape));
  };
  /// The return of what was computed in step `done`: to its rows' rank, and from who had ours then.
  const auto add_return = [&](int done, std::vector<Send>& sends, std::vector<Receive>& receives) {
    const int to = (rank - done + size) % size, from = (rank + done) % size;
    if (serves) {
      sends.push_back(
          {to, message_bytes(turns[done % 2].partial, rows_of(to) * partial_values(shape))});
    }
    if (chunk.streams[from].columns() > 0) {
      receives.push_back(
          {from, message_bytes(returned[from], rows_of(rank) * partial_values(shape))});
    }
  };

  const float* held = q;
  Event here;  // the queries of this step
  for (int step = 0; step < size; ++step) {
    const int source = (rank - step + size) % size;
    std::vector<Send> sends;
    std::vector<Receive> receives;
    if (step + 1 < size) {
      sends.push_back({(rank + 1) % size, queries(source, held)});
      receives.push_back(
          {(rank + size - 1) % size, queries((source + size - 1) % size, turns[(step + 1) % 2].q)});
    }
    if (step > 1) add_return(step - 1, sends, receives);
    transfer().wait(compute.record());
    group.exchange(transfer(), std::move(sends), std::move(receives));
    const Event next_here = transfer().record();

    compute.wait(here);
    const Turn& turn = turns[step % 2];
    const Partial part =
        step == 0 ? Partial{state.acc, state.m} : partial_at(turn.partial, rows_of(source), shape);
    if (step == 0 || serves) {
      const std::vector<std::int64_t> positions = chunk.streams[source].positions();
      kernels_.attend_whole(compute, {.q = held, .positions = positions},
                            {{{}, streams.segments(rank, own(), positions)}},
                            {part.o, part.lse, step == 0 ? state.l : turn.l}, false);
    }
    here = next_here;
    held = turns[(step + 1) % 2].q;
  }
  streams.keep(compute, rank, own());
  if (size == 1) return;

  std::vector<Send> sends;
  std::vector<Receive> receives;
  add_return(size - 1, sends, receives);
  transfer().wait(compute.record());
  group.exchange(transfer(), std::move(sends), std::move(receives));
  compute.wait(transfer().record());
  merge_returned(compute, kernels_, chunk, returned, state);
}

}  // namespace longspan

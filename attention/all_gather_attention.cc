#include "attention/all_gather_attention.h"

#include <utility>
#include <vector>

#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {

//   transfer | KV[r] to r+1, KV[r-1] in | KV[r] to r+2, KV[r-2] in | ...
//   compute  | Q x KV[r]                | Q x KV[r-1]              | ...        time -->
//
// Where messages arrive beside kernels, all of compute is one launch, whose last tiles fill the
// GPU up only once, and which stores no state between streams.
//
// Every stream has its own landing area, so the only waits are: transfers begin after the compute
// that wrote the own stream and read the areas last, and a stream is attended after it arrived.
// The next layer writes the own stream after the last arrival, hence after the last send.

std::int64_t AllGatherAttention::scratch_values(const HeadShape& shape,
                                                const PrefillLimits& limits) {
  if (limits.ranks == 1) return 0;
  return area_values(limits.all_stream_values(shape)) + limits.ranks * area_values(1);
}

void AllGatherAttention::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                             const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  const int size = chunk.size(), rank = chunk.rank;
  const KvStreams streams = this->streams(chunk, pages);
  const QueryRows rows{.q = q, .positions = chunk.positions};
  Scratch scratch(memory_.scratch);

  streams.pack_own(compute, own());
  transfer().wait(compute.record());
  std::vector<float*> landed(size, own());
  std::vector<ArrivingSegments> sources{{{}, streams.segments(rank, own(), rows.positions)}};
  for (int distance = 1; distance < size; ++distance) {
    const int to = (rank + distance) % size, from = (rank + size - distance) % size;
    landed[from] = scratch.take(streams.values(from));
    group.exchange(transfer(), {{to, streams.bytes(rank, own())}},
                   {{from, streams.bytes(from, landed[from])}});
    sources.push_back({transfer().record(), streams.segments(from, landed[from], rows.positions)});
  }

  kernels_.attend_whole(compute, rows, std::move(sources), state, group.moves_beside_kernels());
  for (int from = 0; from < size; ++from) streams.keep(compute, from, landed[from]);
}

}  // namespace longspan

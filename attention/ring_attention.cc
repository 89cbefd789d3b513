#include "attention/ring_attention.h"

#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {
namespace {

//   transfer | KV[r] out, KV[r-1] in | KV[r-1] out, KV[r-2] in | ...
//   compute  | Q x KV[r]             | Q x KV[r-1]             | ...            time -->
//
// Two landing areas take turns. Four waits keep them apart:
//   1 a stream leaves only after the compute that wrote it             (transfer waits for compute)
//   2 a stream is attended and kept only after it arrived              (compute waits for arrived)
//   3 it may land only after the compute that last read the area       (transfer waits for free)
//   4 the next layer writes the own stream only after it left: the first step's exchange holds the
//     send too, so wait 2 covers it.
// That an area's last *send* is over needs no event, since both use one transfer stream.

/// The stream under attention: whose it is, where its bytes are.
struct Held {
  int owner;
  float* memory;
};

TraceLabel ring_step(int step, int owner) {
  return {"ring step", TraceCategory::kStep, {{"step", step}, {"owner", owner}}};
}

Event pass_on(Stream& transfer, const RingTrip& trip, const Held& held, const Held& incoming) {
  const int size = trip.group.size(), rank = trip.group.rank();
  trip.group.exchange(
      transfer, {{(rank + 1) % size, trip.streams.bytes(held.owner, held.memory)}},
      {{(rank + size - 1) % size, trip.streams.bytes(incoming.owner, incoming.memory)}});
  return transfer.record();
}

}  // namespace

void travel_ring(Stream& compute, Stream& transfer, AttentionKernels& kernels, const RingTrip& trip,
                 const QueryRows& rows, RunningState state) {
  const int size = trip.group.size();
  if (size == 1) {
    const int owner = trip.group.rank();
    const StreamSpan span(compute, ring_step(0, owner));
    kernels.attend_whole(compute, rows,
                         {{{}, trip.streams.segments(owner, trip.own, rows.positions)}}, state,
                         false);
    return trip.streams.keep(compute, owner, trip.own);
  }
  kernels.reset(compute, state, std::ssize(rows.positions));
  std::array<Event, 2> free;  // when the landing area may be overwritten
  Held held{trip.group.rank(), trip.own};
  transfer.wait(compute.record());
  for (int step = 0; step < size; ++step) {
    Held incoming{};
    Event arrived;
    if (step + 1 < size) {
      incoming = {(held.owner + size - 1) % size, trip.landing[step % 2]};
      transfer.wait(free[step % 2]);
      arrived = pass_on(transfer, trip, held, incoming);
    }
    {
      const StreamSpan span(compute, ring_step(step, held.owner));
      kernels.attend(compute, rows, trip.streams.segments(held.owner, held.memory, rows.positions),
                     state);
      trip.streams.keep(compute, held.owner, held.memory);
    }
    if (step > 0) free[(step - 1) % 2] = compute.record();
    compute.wait(arrived);
    held = incoming;
  }
  kernels.finish(compute, state, {state.acc, state.m}, std::ssize(rows.positions));
}

std::int64_t RingAttention::scratch_values(const HeadShape& shape, const PrefillLimits& limits) {
  return limits.ranks > 1 ? 2 * area_values(limits.stream_values(shape)) : 0;
}

void RingAttention::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                        const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  const KvStreams streams = this->streams(chunk, pages);
  RingTrip trip{.group = group, .streams = streams, .own = own(), .landing = {}};
  Scratch scratch(memory_.scratch);
  if (chunk.size() > 1) {
    for (float*& area : trip.landing) area = scratch.take(streams.most_values());
  }
  streams.pack_own(compute, own());
  travel_ring(compute, transfer(), kernels_, trip, {.q = q, .positions = chunk.positions}, state);
}

}  // namespace longspan

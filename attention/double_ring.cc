#include "attention/double_ring.h"

#include <array>

#include "attention/scratch.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// A stream in memory: whose it is, where its bytes are.
struct Held {
  int owner = 0;
  float* memory = nullptr;
};

}  // namespace

//   between  | home of step 0 out, home of step 1 in          | home of step 1 out, ...
//   inside   | KV out, KV in | KV out, KV in |  ...           | ...
//   compute  | home          | next of node  |  ...           | home of step 1 | ...     time -->
//
// Waits:
//   1 a transfer between nodes begins after the compute of the outer step before, and with it after
//     the inner transfers that compute waited for: nobody reads its landing area any more, and the
//     own stream is written
//   2 a home stream is attended, and passed on inside the node, after it arrived
//   3 an inner landing area is overwritten after the compute that read it
//   4 a stream is attended after it arrived
class DoubleRing::Pass {
 public:
  Pass(DoubleRing& ring, Stream& compute, const Group& group, const KvStreams& streams,
       const QueryRows& rows, RunningState state)
      : ring_(ring),
        compute_(compute),
        group_(group),
        streams_(streams),
        rows_(rows),
        state_(state),
        nodes_(group.size() / ring.devices_),
        node_(group.rank() / ring.devices_),
        device_(group.rank() % ring.devices_) {
    Scratch scratch(ring.memory_.scratch);
    const std::int64_t longest = streams.most_values();
    if (ring.devices_ > 1) {
      for (float*& area : inner_) area = scratch.take(longest);
    }
    if (nodes_ > 1) {
      for (float*& area : outer_) area = scratch.take(longest);
    }
  }

  void run() {
    Held home{group_.rank(), ring_.own()};
    ring_.transfer().wait(compute_.record());
    for (int step = 0; step < nodes_; ++step) {
      Held next;
      Event arrived;
      if (step + 1 < nodes_) {
        next = {rank_at(node_ - step - 1, device_), outer_[step % 2]};
        ring_.between_->wait(compute_.record());
        pass(*ring_.between_, home, rank_at(node_ + 1, device_), next, rank_at(node_ - 1, device_));
        arrived = ring_.between_->record();
      }
      travel_node(home, node_ - step);
      compute_.wait(arrived);
      ring_.transfer().wait(arrived);
      home = next;
    }
  }

 private:
  int rank_at(int node, int device) const {
    return (node + nodes_) % nodes_ * ring_.devices_ + (device + ring_.devices_) % ring_.devices_;
  }

  void pass(Stream& transfer, const Held& held, int to, const Held& incoming, int from) {
    group_.exchange(transfer, {{to, streams_.bytes(held.owner, held.memory)}},
                    {{from, streams_.bytes(incoming.owner, incoming.memory)}});
  }

  /// One trip of the streams of node `source` round this node.
  void travel_node(Held held, int source) {
    Stream& transfer = ring_.transfer();
    for (int step = 0; step < ring_.devices_; ++step) {
      Held incoming;
      Event arrived;
      const int landing = landings_ % 2;
      if (step + 1 < ring_.devices_) {
        incoming = {rank_at(source, device_ - step - 1), inner_[landing]};
        transfer.wait(free_[landing]);
        pass(transfer, held, rank_at(node_, device_ + 1), incoming, rank_at(node_, device_ - 1));
        arrived = transfer.record();
        ++landings_;
      }
      ring_.kernels_.attend(compute_, rows_,
                            streams_.segments(held.owner, held.memory, rows_.positions), state_);
      streams_.keep(compute_, held.owner, held.memory);
      if (step > 0) free_[held.memory == inner_[1]] = compute_.record();
      compute_.wait(arrived);
      held = incoming;
    }
  }

  DoubleRing& ring_;
  Stream& compute_;
  const Group& group_;
  const KvStreams& streams_;
  QueryRows rows_;
  RunningState state_;
  int nodes_, node_, device_;
  std::array<float*, 2> inner_{}, outer_{};  // landing areas, taking turns
  std::array<Event, 2> free_;                // when an inner one may be overwritten
  int landings_ = 0;                         // inner transfers so far
};

DoubleRing::DoubleRing(Device& device, AttentionKernels& kernels, PrefillMemory& memory,
                       int devices)
    : PrefillAttention(device, kernels, memory), devices_(devices), between_(device.new_stream()) {
  expects(devices >= 1, "a node has a device");
}

std::int64_t DoubleRing::scratch_values(const HeadShape& shape, const PrefillLimits& limits,
                                        int devices) {
  const int rings = (devices > 1 ? 1 : 0) + (limits.ranks > devices ? 1 : 0);
  return 2 * rings * area_values(limits.stream_values(shape));
}

void DoubleRing::run(Stream& compute, const Group& group, const SplitChunk& chunk,
                     const KvPages& pages, const float* q, RunningState state) {
  expects(group.size() == chunk.size() && group.rank() == chunk.rank, "the chunk is the group's");
  expects(chunk.size() % devices_ == 0, "the group is made of whole nodes");
  const KvStreams streams = this->streams(chunk, pages);
  streams.pack_own(compute, own());
  kernels_.reset(compute, state, std::ssize(chunk.positions));
  Pass(*this, compute, group, streams, {.q = q, .positions = chunk.positions}, state).run();
  kernels_.finish(compute, state, {state.acc, state.m}, std::ssize(chunk.positions));
}

}  // namespace longspan

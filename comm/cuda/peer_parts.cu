#include <algorithm>
#include <tuple>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/peer_parts.h"
#include "comm/error.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 64;

/// All that a launch is told: by value, so that nothing has to be copied first.
template <int kMost>
struct Order {
  PeerLanes lanes[kMostPeers];
  std::uint16_t sent[kMostPeers];  // parts of this launch, by peer
  std::uint16_t received[kMostPeers];
  std::uint32_t* ticket;
  const std::uint64_t* given_up;
  int peers;
  int count;
  PeerPart parts[kMost];
};

__device__ std::uint64_t read_acquiring(const std::uint64_t* word) {
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}

__device__ std::uint64_t read_relaxed(const std::uint64_t* word) {
  std::uint64_t value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}

__device__ void write_releasing(std::uint64_t* word, std::uint64_t value) {
  asm volatile("fence.acq_rel.sys;" ::: "memory");
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

__device__ void wait_for(const std::uint64_t* word, std::uint64_t least,
                         const std::uint64_t* given_up) {
  while (read_acquiring(word) < least) {
    if (read_relaxed(given_up) != 0) return;
  }
}

/// By the whole block. What arrived lies in L2, where the peer's stores went.
__device__ void copy_bytes(std::byte* to, const std::byte* from, std::uint32_t bytes) {
  const auto meet = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from);
  if (((meet | bytes) & 15) == 0) {
    const auto* in = reinterpret_cast<const uint4*>(from);
    auto* out = reinterpret_cast<uint4*>(to);
#pragma unroll 4
    for (std::uint32_t i = threadIdx.x; i < bytes / 16; i += kThreads) out[i] = __ldcg(in + i);
  } else {
    const auto* in = reinterpret_cast<const unsigned char*>(from);
    auto* out = reinterpret_cast<unsigned char*>(to);
    for (std::uint32_t i = threadIdx.x; i < bytes; i += kThreads) out[i] = __ldcg(in + i);
  }
}

__device__ void send_part(const PeerPart& part, const PeerLanes& lanes,
                          const std::uint64_t* given_up) {
  const std::uint64_t number = lanes.here->parts_sent + part.place;
  const std::uint64_t slot = number % PeerLane::kParts;
  if (threadIdx.x == 0 && number >= PeerLane::kParts) {
    wait_for(&lanes.here->part_taken[slot], number - PeerLane::kParts + 1, given_up);
  }
  __syncthreads();
  copy_bytes(lanes.there->parts[slot], part.at, part.bytes);
  __syncthreads();
  if (threadIdx.x == 0) write_releasing(&lanes.there->part_arrived[slot], number + 1);
}

__device__ void receive_part(const PeerPart& part, const PeerLanes& lanes,
                             const std::uint64_t* given_up) {
  const std::uint64_t number = lanes.here->parts_received + part.place;
  const std::uint64_t slot = number % PeerLane::kParts;
  if (threadIdx.x == 0) wait_for(&lanes.here->part_arrived[slot], number + 1, given_up);
  __syncthreads();
  copy_bytes(part.at, lanes.here->parts[slot], part.bytes);
  __syncthreads();
  if (threadIdx.x == 0) write_releasing(&lanes.there->part_taken[slot], number + 1);
}

template <int kMost>
__global__ void __launch_bounds__(kThreads) move_all(const __grid_constant__ Order<kMost> order) {
  for (int i = static_cast<int>(blockIdx.x); i < order.count; i += static_cast<int>(gridDim.x)) {
    const PeerPart& part = order.parts[i];
    if (part.sends) {
      send_part(part, order.lanes[part.peer], order.given_up);
    } else {
      receive_part(part, order.lanes[part.peer], order.given_up);
    }
  }
  // The last block counts for the next kernel, when no block reads the counts any more.
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicInc(order.ticket, gridDim.x - 1) + 1 < gridDim.x) return;  // 0 again for the next one
  for (int peer = 0; peer < order.peers; ++peer) {
    order.lanes[peer].here->parts_sent += order.sent[peer];
    order.lanes[peer].here->parts_received += order.received[peer];
  }
}

template <int kMost>
void launch(cudaStream_t stream, std::span<const PeerPart> parts, std::span<const PeerLanes> lanes,
            std::span<const std::uint16_t> sent, std::span<const std::uint16_t> received,
            std::uint32_t* ticket, const std::uint64_t* given_up) {
  Order<kMost> order{.ticket = ticket,
                     .given_up = given_up,
                     .peers = static_cast<int>(lanes.size()),
                     .count = static_cast<int>(parts.size())};
  std::ranges::copy(lanes, order.lanes);
  std::ranges::copy(sent, order.sent);
  std::ranges::copy(received, order.received);
  std::ranges::copy(parts, order.parts);
  const int blocks = std::min(order.count, kMostBlocks);
  move_all<kMost><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(order);
  cuda_check(cudaGetLastError(), "sending to GPUs of this host");
}

}  // namespace

void move_parts(cudaStream_t stream, std::vector<PeerPart> parts, std::span<const PeerLanes> lanes,
                std::uint32_t* ticket, const std::uint64_t* given_up) {
  expects(lanes.size() <= kMostPeers, "a GPU has a few peers");
  std::ranges::sort(parts, {}, [](const PeerPart& part) {
    return std::tuple(part.place, !part.sends, part.peer);
  });
  // Orders of any length are whole parts of one list, so what is said of a kernel is true of them.
  constexpr std::size_t kFew = 8, kSome = 64, kMany = 512;
  std::uint16_t sent[kMostPeers] = {}, received[kMostPeers] = {};  // by kernels before
  for (std::span<PeerPart> left(parts); !left.empty();) {
    const auto now = left.first(std::min(left.size(), kMany));
    left = left.subspan(now.size());
    std::uint16_t sends[kMostPeers] = {}, receives[kMostPeers] = {};
    for (PeerPart& part : now) {
      const std::uint16_t before = part.sends ? sent[part.peer] : received[part.peer];
      part.place = static_cast<std::uint16_t>(part.place - before);
      ++(part.sends ? sends : receives)[part.peer];
    }
    const auto go = now.size() <= kFew    ? launch<kFew>
                    : now.size() <= kSome ? launch<kSome>
                                          : launch<kMany>;
    go(stream, now, lanes, std::span(sends).first(lanes.size()),
       std::span(receives).first(lanes.size()), ticket, given_up);
    for (std::size_t peer = 0; peer < lanes.size(); ++peer) {
      sent[peer] = static_cast<std::uint16_t>(sent[peer] + sends[peer]);
      received[peer] = static_cast<std::uint16_t>(received[peer] + receives[peer]);
    }
  }
}

}  // namespace longspan

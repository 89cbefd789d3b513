#include <algorithm>

#include "comm/cuda/early_launch.cuh"
#include "comm/cuda/peer_order.h"

namespace longspan {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 64;

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

__device__ void write_relaxed(std::uint64_t* word, std::uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

/// After all that the block has done, for whoever acquires the word.
__device__ void write_releasing(std::uint64_t* word, std::uint64_t value) {
  asm volatile("fence.acq_rel.sys;" ::: "memory");
  write_relaxed(word, value);
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
__global__ void __launch_bounds__(kThreads)
    move_all(const __grid_constant__ PeerOrder<kMost> order) {
  let_next_kernel_in();
  wait_for_kernel_before();
  const PeerWords& words = order.words;
  // By a thread that publishes nothing else: its store to the host keeps no other one waiting.
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == kThreads - 1) {
    write_relaxed(words.begun, *words.done + 1);
  }
  for (int i = static_cast<int>(blockIdx.x); i < order.count; i += static_cast<int>(gridDim.x)) {
    const PeerPart& part = order.parts[i];
    if (part.sends) {
      send_part(part, order.lanes[part.peer], words.given_up);
    } else {
      receive_part(part, order.lanes[part.peer], words.given_up);
    }
  }
  // The last block counts for the next kernel, when no block reads the counts any more.
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicInc(words.ticket, gridDim.x - 1) + 1 < gridDim.x) return;  // 0 again for the next one
  for (int peer = 0; peer < order.peers; ++peer) {
    order.lanes[peer].here->parts_sent += order.sent[peer];
    order.lanes[peer].here->parts_received += order.received[peer];
  }
  ++*words.done;
}

}  // namespace

template <int kMost>
void launch_order(const PeerOrder<kMost>& order, cudaStream_t stream) {
  const int blocks = std::min(order.count, kMostBlocks);
  launch_early({.grid = dim3(static_cast<unsigned>(blocks)), .threads = kThreads, .stream = stream},
               move_all<kMost>, "sending to GPUs of this host", order);
}

template void launch_order(const PeerOrder<8>&, cudaStream_t);
template void launch_order(const PeerOrder<64>&, cudaStream_t);
template void launch_order(const PeerOrder<512>&, cudaStream_t);

}  // namespace longspan

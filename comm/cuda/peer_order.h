// What a kernel that moves parts is told: by value, so that nothing has to be copied first.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "comm/cuda/peer_lane.h"

namespace longspan {

struct PeerPart {
  std::byte* at = nullptr;  // where the bytes come from, or are to go; in this GPU's memory
  std::uint32_t bytes = 0;  // at most PeerLane::kPartBytes
  std::uint16_t place = 0;  // among the exchange's parts from or to this peer, from 0
  std::uint8_t peer = 0;
  bool sends = false;
};

/// The most peers of a GPU.
inline constexpr std::size_t kMostPeers = 15;

/// Words that all these kernels of a GPU share, 0 at first.
struct PeerWords {
  std::uint32_t* ticket = nullptr;          // of this GPU
  const std::uint64_t* given_up = nullptr;  // of this GPU; once it is not 0, nothing is waited for
                                            // any more and what arrives is garbage
  std::uint64_t* done = nullptr;            // of this GPU: kernels that have ended
  std::uint64_t* begun = nullptr;           // of the host, pinned: kernels that have begun
};

template <int kMost>
struct PeerOrder {
  PeerLanes lanes[kMostPeers];
  std::uint16_t sent[kMostPeers] = {};  // parts of this launch, by peer
  std::uint16_t received[kMostPeers] = {};
  PeerWords words;
  std::int32_t peers = 0;
  std::int32_t count = 0;
  PeerPart parts[kMost];
};

/// For orders of 8, 64 and 512 parts.
template <int kMost>
void launch_order(const PeerOrder<kMost>& order, cudaStream_t stream);

}  // namespace longspan

// The small messages of an exchange, in one kernel: it stores what it sends into the peers' lanes
// and takes what arrives out of its own. One way costs what a store over NVLink takes to be seen,
// about 2 us, where an exchange of NCCL is several kernels' worth.
//
// No wait is for ever for as long as every rank takes part. Blocks of the kernel take parts in the
// order of their places, sends before receives: what a part waits for has a smaller place at the
// peer, or is a send of the same place, so of all parts under way the first one can always go on.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

/// Enqueues all `parts`. `lanes`: by peer. `ticket` and `given_up`: words of this GPU, 0 at first;
/// once the latter is not, nothing is waited for any more and what arrives is garbage.
void move_parts(cudaStream_t stream, std::vector<PeerPart> parts, std::span<const PeerLanes> lanes,
                std::uint32_t* ticket, const std::uint64_t* given_up);

}  // namespace longspan

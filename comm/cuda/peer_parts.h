// The small messages of an exchange, in one kernel: it stores what it sends into the peers' lanes
// and takes what arrives out of its own. One way costs what a store over NVLink takes to be seen,
// about 2 us, where an exchange of NCCL is several kernels' worth.
//
// No wait is for ever for as long as every rank takes part. Blocks of the kernel take parts in the
// order of their places, sends before receives: what a part waits for has a smaller place at the
// peer, or is a send of the same place, so of all parts under way the first one can always go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/peer_order.h"

namespace longspan {

/// Enqueues all `parts`; returns how many kernels do it. `lanes`: by peer.
std::uint64_t move_parts(CudaStream& stream, std::vector<PeerPart> parts,
                         std::span<const PeerLanes> lanes, const PeerWords& words);

}  // namespace longspan

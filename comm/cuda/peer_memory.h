// The lanes of the GPUs of one host: each rank's own, and those of its peers for it, mapped into
// its addresses by CUDA IPC. Two ranks may share a GPU.
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/peer_lane.h"
#include "comm/cuda/peer_order.h"
#include "comm/cuda/peer_start.h"

namespace longspan {

class PeerMemory {
 public:
  /// Every rank of `control`, all of one host, calls this with its own GPU. Throws Error, on all
  /// alike, where there is no memory for lanes, no access to a peer's, or too many ranks.
  PeerMemory(CudaDevice& gpu, Communicator& control);
  /// Waits for the peers, since nobody's memory may go while another one has it mapped. Those that
  /// do not come within seconds are left, and so is the memory, to the end of the process.
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  /// By peer: the other ranks in order.
  std::span<const PeerLanes> lanes() const { return lanes_; }
  std::size_t peer_of(int rank) const { return place_among_peers(own_rank_, rank); }

  /// Those of this GPU; the host's is null.
  PeerWords words() const;
  std::uint64_t* given_up() const;

  /// The memory stays mapped: somebody may still write to it.
  void abandon() { abandoned_ = true; }

 private:
  struct Words {
    std::uint32_t ticket;
    std::uint64_t done;
    alignas(128) std::uint64_t given_up;
  };

  std::vector<std::byte> own_handle() const;
  void open(const std::vector<std::byte>& handles);
  void close();

  CudaDevice& gpu_;
  Communicator& control_;
  const int own_rank_;
  bool abandoned_ = false;
  Buffer own_;                 // words, and a lane for each peer
  std::vector<void*> opened_;  // peers' memory, by peer
  std::vector<PeerLanes> lanes_;
};

}  // namespace longspan

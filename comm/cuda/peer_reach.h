// Memory of this process's GPU as other processes can find it, and theirs in addresses of this one,
// by CUDA IPC. An allocation is mapped when something is first sent to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "comm/cuda/peer_mailbox.h"

namespace longspan {

/// This process's memory as others find it.
class OwnReach {
 public:
  /// `memory` is of one allocation of the current GPU. Throws DeviceError where it cannot be
  /// shared.
  Landing landing_at(const std::byte* memory);

 private:
  struct Shared {
    std::uint64_t allocation;
    cudaIpcMemHandle_t handle;
  };

  std::deque<Shared> shared_;  // the last few: to ask for a handle is slow
};

class PeerReach {
 public:
  /// Waits until nothing uses the memory of a peer any more.
  using Drain = std::function<void(std::size_t peer, const GoOn& go_on)>;

  PeerReach(std::size_t peers, Drain drain);
  /// Nothing uses the memory any more.
  ~PeerReach();
  PeerReach(const PeerReach&) = delete;
  PeerReach& operator=(const PeerReach&) = delete;

  /// Where the landing of a peer is here. Beyond a few allocations the one that was mapped first
  /// goes.
  std::byte* at(std::size_t peer, const Landing& landing, const GoOn& go_on);

 private:
  struct Mapped {
    std::uint64_t allocation;
    std::byte* memory;
  };

  /// The `count` allocations of a peer that were mapped first.
  void leave(std::size_t peer, std::size_t count, const GoOn& go_on);

  const Drain drain_;
  std::vector<std::deque<Mapped>> mapped_;  // by peer
};

}  // namespace longspan

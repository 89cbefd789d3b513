// Where ranks of one host tell each other in which memory their messages are to land: in memory of
// the host that they share, for what the host enqueues must name addresses.
//
//   receiver's host   post(sender, landing)                   before it enqueues the wait for it
//   sender's host                           take(receiver)    before it enqueues the copy to it
//
// Landings of each pair are posted and taken in the order of their messages.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/patient_wait.h"

namespace longspan {

/// A place in memory of a GPU, as another process can find it.
struct Landing {
  std::uint64_t allocation = 0;  // a number that its process gives no other one
  std::uint64_t offset = 0;      // in it
  cudaIpcMemHandle_t handle{};   // of it
};

class PeerMailbox {
 public:
  /// Every rank of `control`, all of one host, calls this. Throws Error on all alike where they
  /// cannot share memory.
  explicit PeerMailbox(Communicator& control);
  ~PeerMailbox();
  PeerMailbox(const PeerMailbox&) = delete;
  PeerMailbox& operator=(const PeerMailbox&) = delete;

  /// `peer`: its place among the other ranks. Waits while it is many landings behind.
  void post(std::size_t peer, const Landing& landing, const GoOn& go_on);
  /// The next one that `peer` posted for this rank. Waits until it has.
  Landing take(std::size_t peer, const GoOn& go_on);

 private:
  struct Box;
  struct Side {
    Box* box = nullptr;
    std::uint64_t count = 0;  // so far
  };

  void* map(const std::string& name, bool creates);

  std::size_t bytes_;
  std::vector<void*> mapped_;
  std::vector<Side> out_, in_;  // by peer: what it reads, what it writes
};

}  // namespace longspan

// What a GPU sets aside for one peer: room for what it sends, and the words by which both know what
// has come and what was taken away. One lane is written by one peer only, and by its owner's GPU.
//
// Parts of small messages go by a kernel's stores (peer_parts.h), and lie in the lane for a moment:
//
//   sender                                   the receiver's lane for it
//   waits for its own lane's `taken`   -->   slot (number % slots)
//                                      -->   arrived[slot] = number + 1
//   own lane's taken[slot] = number + 1  <--   waits for it, takes the bytes to where they belong
//
// Large messages go by copy engines to where they belong (peer_mailbox.h says where): a copy within
// a GPU is a kernel, which would wait for the multiprocessors that attention has.
//
//   own lane's message_awaited = number + 1  <--  when the memory is free
//   waits for it, copies               -->   message_arrived = number + 1
//
// Each kind is numbered from 0 for as long as the lane lives, so none is taken for another one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longspan {

struct PeerLane {
  static constexpr std::size_t kPartBytes = std::size_t{16} << 10;
  static constexpr std::uint64_t kParts = 64;
  /// Of a small message: up to here a kernel's stores are done before a copy engine has begun.
  static constexpr std::size_t kMostOfSmall = 16 * kPartBytes;

  // The peer's to write: what it has sent, and what it has taken, or waits for, of what is sent to
  // it.
  alignas(128) std::uint64_t part_arrived[kParts];
  std::uint64_t part_taken[kParts];
  std::uint64_t message_awaited;
  std::uint64_t message_arrived;

  // The owner's: parts of all kernels before.
  alignas(128) std::uint64_t parts_sent;
  std::uint64_t parts_received;

  // What is on its way.
  alignas(4096) std::byte parts[kParts][kPartBytes];
};

/// A lane as one side sees it, in its own addresses.
struct PeerLanes {
  PeerLane* here = nullptr;   // of this GPU, for the peer
  PeerLane* there = nullptr;  // of the peer, for this GPU
};

}  // namespace longspan

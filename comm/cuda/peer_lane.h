// What a GPU sets aside for one peer: room for what it sends, and the words by which both know what
// has come and what was taken away. One lane is written by one peer only, and by its owner's GPU.
//
//   sender                                   the receiver's lane for it
//   waits for its own lane's `taken`   -->   slot (number % slots)
//                                      -->   arrived[slot] = number + 1
//   own lane's taken[slot] = number + 1  <--   waits for it, takes the bytes to where they belong
//
// Parts of small messages go by a kernel's stores (peer_parts.h), pieces of large ones by copy
// engines. Each kind is numbered from 0 for as long as the lane lives, so a slot is never taken for
// another one's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longspan {

struct PeerLane {
  static constexpr std::size_t kPartBytes = std::size_t{16} << 10;
  static constexpr std::uint64_t kParts = 64;
  static constexpr std::size_t kPieceBytes = std::size_t{8} << 20;
  static constexpr std::uint64_t kPieces = 4;

  // The peer's to write: what it has sent, and what it has taken of what was sent to it.
  alignas(128) std::uint64_t part_arrived[kParts];
  std::uint64_t part_taken[kParts];
  std::uint64_t piece_arrived;
  std::uint64_t piece_taken;

  // The owner's: parts of all kernels before.
  alignas(128) std::uint64_t parts_sent;
  std::uint64_t parts_received;

  // What is on its way.
  alignas(4096) std::byte parts[kParts][kPartBytes];
  std::byte pieces[kPieces][kPieceBytes];
};

/// A lane as one side sees it, in its own addresses.
struct PeerLanes {
  PeerLane* here = nullptr;   // of this GPU, for the peer
  PeerLane* there = nullptr;  // of the peer, for this GPU
};

}  // namespace longspan

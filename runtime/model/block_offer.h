// How the leader of a host passes a block of memory on to the other ranks.
//
//   leader     offer --------> [fill the block]  ready or failed -->
//   follower         <-- answer                                      use it, or throw
//
// A follower obeys whatever notice comes next, so the leader may fail, or offer another block, at
// any point without leaving anybody waiting.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>

#include "runtime/model/host_ranks.h"
#include "runtime/model/shared_block.h"

namespace longspan {

/// The first bytes of a block: tells a follower that it opened the block that was meant, and that
/// it would lay it out alike.
struct BlockMark {
  std::uint64_t nonce = 0;
  std::uint64_t layout = 0;

  static BlockMark fresh(std::uint64_t layout);
  friend bool operator==(const BlockMark&, const BlockMark&) = default;
};

/// The leader's side.
class BlockOffer {
 public:
  BlockOffer(const HostRanks& host, Patience patience) : host_(host), patience_(patience) {}

  /// Whether every follower could map `file`, which begins with `mark`. Replaces earlier offers.
  bool offer(const BlockFile& file, const BlockMark& mark);
  /// The block is filled.
  void ready();
  /// It will never be: followers throw the same error.
  void failed(const std::exception& failure);

 private:
  const HostRanks& host_;
  Patience patience_;
};

/// A follower's side: the filled block, mapped for reading, or nothing when the last one offered
/// could not be used. Throws the leader's failure.
std::optional<Mapping> await_block(const HostRanks& host, std::size_t bytes, std::uint64_t layout,
                                   Patience patience);

}  // namespace longspan

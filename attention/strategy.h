// The ways to split attention of a chunk over a group, and attention of a decode step.
#pragma once

#include <optional>
#include <string_view>

namespace longspan {

enum class Strategy {
  kRing,         // keys go round, queries stay
  kQueryRing,    // queries go round, keys stay
  kAllGather,    // every rank gets all keys at once
  kGatherQuery,  // every rank gets all queries at once
  kUlysses,      // every rank gets all tokens of a slice of the heads
  kUsp,          // heads are split inside islands of ranks, the sequence between them
  kDoubleRing,   // a ring of nodes, in each a ring of its devices
};

/// "ring", ...; nothing for another word.
std::optional<Strategy> parse_strategy(std::string_view name);
std::string_view name(Strategy strategy);

/// Whether every rank must keep the KV of the rows it computes and no other: the strategies in
/// which keys do not pass every rank with all their heads.
bool needs_own_keys(Strategy strategy);

}  // namespace longspan

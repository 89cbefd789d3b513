// The ways a group can share attention, by name.
//
//   prefill        what travels                      what stays
//   ring           keys, round the ranks             queries; any rank may keep any page
//   all-gather     keys, straight to every rank      the same, with room for all of them
//   double-ring    keys, round the hosts and round the ranks inside each
//   query-ring     queries, and partials back        keys
//   gather-q       queries to all, partials back     keys
//   ulysses        both, once: heads for tokens      nothing; each rank has some of the heads
//   usp            ulysses inside, a ring outside
//
// docs/algorithms.md says what each sends; choose_strategy.h decides.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace longspan {

enum class Strategy { kRing, kQueryRing, kAllGather, kGatherQuery, kUlysses, kUsp, kDoubleRing };

inline constexpr std::array kStrategies{
    Strategy::kRing,    Strategy::kQueryRing, Strategy::kAllGather, Strategy::kGatherQuery,
    Strategy::kUlysses, Strategy::kUsp,       Strategy::kDoubleRing};

/// "query-ring", ...; nothing for another word.
std::optional<Strategy> parse_strategy(std::string_view name);
std::string_view name(Strategy strategy);

/// Whether every new key passes every rank, so that any rank may keep it at no cost. The other
/// strategies leave the KV of a new token on the rank that computed it.
bool passes_keys(Strategy strategy);

/// A strategy, and how it divides a group that it divides in two: rank r is rank r mod `inner` of
/// the inner part r div `inner`. Usp: a part exchanges heads. Double ring: a part is a host's
/// ranks.
struct PlannedStrategy {
  Strategy strategy = Strategy::kRing;
  int inner = 1;

  bool operator==(const PlannedStrategy&) const = default;
};

/// "ring", "usp 4 x 2" for a group of `degree`.
std::string describe(const PlannedStrategy& plan, int degree);

/// How decode rows meet keys that lie on several ranks: queries shipped by the row's master; rows
/// mirrored on every rank; partials merged up a tree; the layer's other work sliced as well.
enum class DecodeStrategy { kShipped, kMirrored, kTree, kSliced };

inline constexpr std::array kDecodeStrategies{DecodeStrategy::kShipped, DecodeStrategy::kMirrored,
                                              DecodeStrategy::kTree, DecodeStrategy::kSliced};

/// "shipped", ...; nothing for another word.
std::optional<DecodeStrategy> parse_decode_strategy(std::string_view name);
std::string_view name(DecodeStrategy strategy);

/// Whether every rank of the group holds every decode row, or only the row's master does.
bool mirrors_rows(DecodeStrategy strategy);

}  // namespace longspan

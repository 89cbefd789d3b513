// Which strategy a chunk takes, and why.
//
// In this order: what the setting refuses goes (usable_strategies.h); what does not fit the staging
// memory goes; of the rest the smallest predicted time wins, except that within 2 % of it the
// previous chunk's strategy stays, then ring, then all-gather is taken: a prediction is not that
// good, and changing back and forth buys nothing. Chosen once per chunk, by one rank, for all
// layers.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "attention/machine_rates.h"
#include "attention/split_shape.h"
#include "attention/strategy_set.h"
#include "attention/strategy_traffic.h"
#include "attention/usable_strategies.h"

namespace longspan {

/// The chunk under one mask, and how many layers of the model have that mask.
struct LayerShape {
  SplitShape shape;  // of as many ranks as the setting
  int layers = 1;
};

struct StrategyQuestion {
  SplitSetting setting;
  std::vector<LayerShape> layers;  // for each distinct mask of the model
  bool identity = true;   // of this chunk, has_identity(); a setting without it refuses anyway
  int value_bytes = 4;    // of Q, K, V on the wire
  int partial_bytes = 4;  // of O in a partial
  std::optional<KvType> at_rest = std::nullopt;  // of pages: see WireShape
  /// Bytes that the scarcest rank has for what arrives in a layer.
  std::int64_t staging_bytes = std::numeric_limits<std::int64_t>::max();
  std::optional<StrategySet> planned;       // those that have memory; absent: any
  std::optional<PlannedStrategy> previous;  // of the request's last chunk

  WireShape wire() const {
    return {setting.heads, value_bytes, partial_bytes, at_rest,
            setting.new_columns == KvType::kBFloat16};
  }
};

struct Candidate {
  PlannedStrategy plan;
  std::int64_t staging_bytes = 0;  // of the rank that needs most, in the layer that needs most
  double seconds = 0;              // predicted for a layer, their mean; both 0 when refused
  std::string dropped;             // why it was not considered; empty: it was
};

struct StrategyChoice {
  PlannedStrategy plan;
  double seconds = 0;  // predicted for a layer, their mean
  std::string reason;  // "smallest predicted time", ...
  std::vector<Candidate> candidates;
};

/// Why a plan that is legal is still not worth looking at, for a chunk that has the identity or
/// not; empty if it is.
std::string pointless(const PlannedStrategy& plan, const SplitSetting& setting, bool identity);

/// What a legal plan would cost, and why it is not considered if it is not.
Candidate examine(const PlannedStrategy& plan, const StrategyQuestion& question,
                  const MachineRates& rates);

/// Never fails: if nothing fits the staging memory, what needs least of it among the strategies
/// that pass keys is chosen, and the reason says so.
StrategyChoice choose_strategy(const StrategyQuestion& question, const MachineRates& rates);

/// One line for a log: the choice, its time and reason, then every candidate.
std::string describe(const StrategyChoice& choice, int degree);

}  // namespace longspan

// The prefill strategies that a user's options leave, checked against the model and the ranks.
#pragma once

#include <vector>

#include "attention/segment.h"
#include "attention/strategy.h"
#include "launch/options.h"

namespace longspan {

/// How `hosts.size()` ranks may share a sequence: in the one way asked for, divided as
/// --ulysses-degree or --ring-shape say or in the most promising way; with --strategy auto in every
/// way that is legal. `hosts`: for each rank a number for its host. Throws UsageError, with what
/// would be legal, when the way asked for is not.
std::vector<PlannedStrategy> allowed_strategies(const GenerateOptions& options,
                                                const HeadShape& heads, std::vector<int> hosts);

}  // namespace longspan

// The prefill strategy a user asked for, checked against the model and the ranks.
#pragma once

#include <vector>

#include "attention/segment.h"
#include "attention/strategy.h"
#include "launch/options.h"

namespace longspan {

/// How `hosts.size()` ranks share a sequence: the strategy of the options, divided as
/// --ulysses-degree or --ring-shape say or in the most promising way. `hosts`: for each rank a
/// number for its host. Throws UsageError, with what would be legal.
PlannedStrategy forced_strategy(const GenerateOptions& options, const HeadShape& heads,
                                std::vector<int> hosts);

}  // namespace longspan

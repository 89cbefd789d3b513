// Measures the constants of the time model with this machine's own kernels and messages.
//
// All ranks measure at once, as they will work at once, and the slowest rank counts: cores, memory
// and links that ranks share are shared here too. Messages go round the ranks of each host, then
// between hosts, so that both classes of link are met; last, the strategies themselves run on small
// chunks.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "attention/calibration_effort.h"
#include "attention/kernels.h"
#include "attention/machine_rates.h"
#include "attention/strategy_probe.h"
#include "comm/link_throttle.h"
#include "comm/machine.h"

namespace longspan {

/// For every rank of the machine, the lowest rank of its host: equal numbers share a host. All
/// ranks call it.
std::vector<int> hosts_of_ranks(Machine& machine);

/// What all ranks agree on; every rank gets the same bits. All ranks call it with the same effort,
/// heads, `group.hosts` and `throttle`, which says how the machine's links are slowed; it
/// allocates, and blocks. A class of links that no two ranks have is assumed to be what
/// default_rates() says. Throws CommError, OutOfMemory.
MachineRates calibrate(Machine& machine, AttentionKernels& kernels, CalibrationEffort effort,
                       const ProbedGroup& group,
                       const std::optional<LinkThrottle>& throttle = std::nullopt);

/// The slowest of what those ranks say that have rates, on every rank; one at least has. All ranks
/// call it.
MachineRates agreed_rates(Communicator& control, const std::optional<MachineRates>& mine);

/// Of the rates of several ranks the slowest of each kind. `all` is not empty, with equal rows.
MachineRates slowest(const std::vector<MachineRates>& all);

}  // namespace longspan

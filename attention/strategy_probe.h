// Runs every strategy that a group may use on small chunks. The part of calibration that measures
// what no rate says (strategy_time.h).
//
//   new rows            cached keys: none       a page a rank       pages a rank
//   a page of rank 0    nothing to send         keys, queries meet on one rank
//   a page a rank       every rank waits for every other
//   pages a rank                                                    kernels have their rates
//
// Between them lie the chunks that are over in a few milliseconds.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "attention/kernels.h"
#include "attention/machine_rates.h"
#include "comm/machine.h"

namespace longspan {

/// The ranks that will attend together. Several groups of as many ranks, on the same hosts, may
/// probe at the same time, as they will work.
struct ProbedGroup {
  std::vector<int> ranks;  // of the machine; empty on a rank that is in no group
  std::vector<int> hosts;  // for each rank of a group a number for its host; the same on all ranks

  int degree() const { return static_cast<int>(hosts.size()); }
  /// Of a rank of the machine in this group; nothing for another.
  std::optional<int> index_of(int rank) const;
};

/// All ranks of the machine as one group. All ranks call it.
ProbedGroup whole_group(Machine& machine);

/// Into how many parts the strategies of the group split the heads: more than one each.
std::vector<int> head_parts(const HeadShape& heads, const ProbedGroup& group);

/// The grid for a group: no chunk of it takes a plan much longer than some 15 ms, by what `rates`
/// says.
ProbeGrid probe_grid(const HeadShape& heads, const ProbedGroup& group, const MachineRates& rates);

/// Puts into `rates`, whose other constants all ranks agree on, the grid and how long every
/// strategy that may be worth choosing takes on it: on the slowest rank, by pages dealt round the
/// ranks. About `seconds` in all, and two rounds at least; nothing where a rank is alone. The same
/// on every rank. All ranks call it; it allocates, and blocks. Throws CommError, OutOfMemory.
void probe_strategies(Machine& machine, AttentionKernels& kernels, const ProbedGroup& group,
                      std::chrono::duration<double> seconds, MachineRates& rates);

}  // namespace longspan

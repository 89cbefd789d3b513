// Which cores the compute threads of a rank keep to, when several ranks share a host and nobody
// else has bound them.
//
//   node 0   | core 0 | core 1 | core 2 | core 3 |      3 ranks: rank 0, rank 1
//   node 1   | core 4 | core 5 | core 6 | core 7 |               rank 2
//
// A rank's cores are on as few nodes of memory as can be, and are its alone. As many threads as
// cores get a hardware thread of each; more get all of them. Other threads of the process (MPI's
// progress, reading, serving) stay free to run wherever nothing else does, on the rank's nodes.
#pragma once

#include <sched.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/binding.h"
#include "comm/cpu/core_topology.h"

namespace longspan {

/// Hardware threads of a rank.
struct CoreShare {
  cpu_set_t compute;
  cpu_set_t nodes;  // all allowed ones of the nodes that `compute` is on
};

/// The part of the host's `index`-th of `ranks` ranks, each with `threads` compute threads. Nothing
/// if some rank would have no core of its own, or fewer hardware threads than that, or if its
/// threads would have to share cores while another's do not: then they are better off roaming.
std::optional<CoreShare> share_of_cores(const std::vector<PhysicalCore>& cores, int index,
                                        int ranks, int threads);

/// What was decided for a rank, and a line for the log.
struct Placement {
  std::optional<CoreShare> share;  // none: leave its threads alone
  std::string text;

  std::optional<cpu_set_t> compute() const {
    return share ? std::optional(share->compute) : std::nullopt;
  }
};

/// `all`: what each rank on this host may run on, by rank, this one's at `index`. `quota`: cores'
/// worth of time that control groups grant. `openmp_is_bound`: its own variables place its threads.
Placement place_rank(Binding wish, std::span<const cpu_set_t> all, int index, int threads,
                     std::optional<double> quota, bool openmp_is_bound,
                     const std::filesystem::path& root = "/");

/// Whether OpenMP was told where to run: OMP_PROC_BIND, OMP_PLACES, GOMP_CPU_AFFINITY or
/// KMP_AFFINITY.
bool openmp_is_bound();

/// Keeps the calling thread, and those it starts from now on, to `cpus`. Failing does no harm, and
/// is not told.
void keep_this_thread_to(const cpu_set_t& cpus);

}  // namespace longspan

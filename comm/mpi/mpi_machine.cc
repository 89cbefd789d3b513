#include "comm/mpi/mpi_machine.h"

#include <algorithm>
#include <span>

#include "comm/collective.h"
#include "comm/host.h"

namespace longspan {

MpiMachine::MpiMachine(std::unique_ptr<MpiSession> session, const MachineOptions& options)
    : session_(std::move(session)),
      data_(*session_, Channel::kData, options.hang_timeout),
      control_(*session_, Channel::kControl, options.hang_timeout),
      host_(host_name()),
      share_(take_share(options)),
      device_(share_.threads, share_.placement.compute()) {}

// MPI's progress thread is older than this and stays as free as the launcher made it.
MpiMachine::HostShare MpiMachine::take_share(const MachineOptions& options) {
  const std::vector<cpu_set_t> all = cores_of_ranks();
  const auto own = std::ranges::find(host_ranks(), session_->rank());
  const auto index = static_cast<int>(own - host_ranks().begin());
  const std::optional<double> quota = cpu_quota();
  const int threads = options.threads > 0 ? options.threads : fair_threads(all[index], all, quota);
  HostShare share{threads, place_rank(options.bind, all, index, threads, quota, openmp_is_bound())};
  if (share.placement.share) keep_this_thread_to(share.placement.share->nodes);
  return share;
}

// The ranks of a host tell each other where they may run: a launcher may have given each its own
// cores, or the same to all.
std::vector<cpu_set_t> MpiMachine::cores_of_ranks() {
  const cpu_set_t mine = allowed_cores();
  std::vector<cpu_set_t> all(host_ranks().size(), mine);
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const int peer = host_ranks()[i];
    if (peer == session_->rank()) continue;
    sends.push_back({peer, std::as_bytes(std::span(&mine, 1))});
    receives.push_back({peer, std::as_writable_bytes(std::span(&all[i], 1))});
  }
  control_.transfer(std::move(sends), std::move(receives), kStartPatience);
  return all;
}

}  // namespace longspan

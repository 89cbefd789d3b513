#include "comm/mpi/mpi_machine.h"

#include <span>

#include "comm/collective.h"
#include "comm/host.h"

namespace longspan {

MpiMachine::MpiMachine(std::unique_ptr<MpiSession> session, const MachineOptions& options)
    : session_(std::move(session)),
      data_(*session_, Channel::kData, options.hang_timeout),
      control_(*session_, Channel::kControl, options.hang_timeout),
      host_(host_name()),
      device_(chosen_threads(options)) {}

int MpiMachine::chosen_threads(const MachineOptions& options) {
  const int share = fair_share();  // asked in any case: the other ranks may need our answer
  return options.threads > 0 ? options.threads : share;
}

// The ranks of a host tell each other where they may run: a launcher may have given each its own
// cores, or the same to all.
int MpiMachine::fair_share() {
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
  return fair_threads(mine, all, cpu_quota());
}

}  // namespace longspan

#include "comm/mpi/mpi_communicator.h"

#include <utility>

#include "comm/cpu/cpu_device.h"
#include "comm/exchange_lists.h"

namespace longspan {

MpiCommunicator::MpiCommunicator(MpiSession& session, Channel channel,
                                 std::chrono::milliseconds deadline)
    : session_(session), channel_(channel), deadline_(deadline) {}

void MpiCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                               std::vector<Receive> receives) {
  expect_known_peers(sends, receives, size());
  drop_empty_messages(sends, receives);
  if (sends.empty() && receives.empty()) return;
  as_cpu(stream).enqueue([this, sends = std::move(sends), receives = std::move(receives)] {
    run(sends, receives, {deadline_});
  });
}

void MpiCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                               Patience patience) {
  expect_known_peers(sends, receives, size());
  drop_empty_messages(sends, receives);
  if (!sends.empty() || !receives.empty()) run(sends, receives, patience);
}

void MpiCommunicator::run(const std::vector<Send>& sends, const std::vector<Receive>& receives,
                          const Patience& patience) {
  session_.run(channel_, sends, receives, patience);
  traffic_.add(sends, receives);
}

}  // namespace longspan

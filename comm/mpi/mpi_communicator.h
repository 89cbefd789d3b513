// A Communicator over one channel of the process's MPI session.
#pragma once

#include <chrono>
#include <exception>
#include <functional>

#include "comm/communicator.h"
#include "comm/mpi/mpi_session.h"
#include "comm/traffic_counter.h"

namespace longspan {

class MpiCommunicator final : public Communicator {
 public:
  /// Borrows the session. `deadline`: of every exchange that does not bring its own patience.
  MpiCommunicator(MpiSession& session, Channel channel, std::chrono::milliseconds deadline);

  int rank() const override { return session_.rank(); }
  int size() const override { return session_.size(); }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) override;
  Traffic traffic() const override { return traffic_.read(); }

 private:
  void begin(const std::vector<Send>& sends, const std::vector<Receive>& receives,
             const Patience& patience, std::function<void(std::exception_ptr)> done);

  MpiSession& session_;
  const Channel channel_;
  const std::chrono::milliseconds deadline_;
  TrafficCounter traffic_;
};

}  // namespace longspan

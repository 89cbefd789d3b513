// The machine of a rank that a launcher started: CPU device, MPI communicators.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/cpu/core_share.h"
#include "comm/cpu/cpu_device.h"
#include "comm/machine.h"
#include "comm/mpi/mpi_communicator.h"
#include "comm/mpi/mpi_session.h"

namespace longspan {

class MpiMachine final : public Machine {
 public:
  MpiMachine(std::unique_ptr<MpiSession> session, const MachineOptions& options);

  Device& device() override { return device_; }
  Communicator& data() override { return data_; }
  Communicator& control() override { return control_; }
  const std::vector<int>& host_ranks() const override { return session_->host_ranks(); }
  const std::string& host() const override { return host_; }
  int threads() const override { return device_.threads(); }
  std::string placement() const override { return share_.placement.text; }
  bool abandoned() const override { return session_->abandoned(); }

 private:
  struct HostShare {
    int threads;
    Placement placement;
  };
  HostShare take_share(const MachineOptions& options);
  std::vector<cpu_set_t> cores_of_ranks();

  std::unique_ptr<MpiSession> session_;
  MpiCommunicator data_;
  MpiCommunicator control_;
  std::string host_;
  HostShare share_;
  CpuDevice device_;
};

}  // namespace longspan

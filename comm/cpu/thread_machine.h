// The machine of a rank that is a thread of this process: every rank of a test, or the only rank
// of a program that no launcher started.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/cpu/cpu_device.h"
#include "comm/cpu/thread_communicator.h"
#include "comm/machine.h"

namespace longspan {

class ThreadMachine final : public Machine {
 public:
  /// The worlds are shared by the machines of all ranks.
  ThreadMachine(std::shared_ptr<ThreadWorld> data, std::shared_ptr<ThreadWorld> control, int rank,
                int threads);

  Device& device() override { return device_; }
  Communicator& data() override { return data_->rank(rank_); }
  Communicator& control() override { return control_->rank(rank_); }
  const std::vector<int>& host_ranks() const override { return host_ranks_; }
  const std::string& host() const override { return host_; }
  int threads() const override { return device_.threads(); }

 private:
  std::shared_ptr<ThreadWorld> data_;
  std::shared_ptr<ThreadWorld> control_;
  const int rank_;
  CpuDevice device_;
  std::vector<int> host_ranks_;
  std::string host_;
};

}  // namespace longspan

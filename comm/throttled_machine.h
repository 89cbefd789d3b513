// A machine whose data links are slower than they are; everything else, control too, is as it was.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/machine.h"
#include "comm/throttled_communicator.h"

namespace longspan {

class ThrottledMachine final : public Machine {
 public:
  ThrottledMachine(std::unique_ptr<Machine> inner, const LinkThrottle& throttle)
      : inner_(std::move(inner)), data_(inner_->data(), throttle) {}

  Device& device() override { return inner_->device(); }
  Communicator& data() override { return data_; }
  Communicator& control() override { return inner_->control(); }
  const std::vector<int>& host_ranks() const override { return inner_->host_ranks(); }
  const std::string& host() const override { return inner_->host(); }
  int threads() const override { return inner_->threads(); }
  std::string placement() const override { return inner_->placement(); }
  Backend backend() const override { return inner_->backend(); }
  std::optional<std::int64_t> device_memory_left() override { return inner_->device_memory_left(); }
  bool abandoned() const override { return inner_->abandoned(); }

 private:
  std::unique_ptr<Machine> inner_;
  ThrottledCommunicator data_;
};

}  // namespace longspan

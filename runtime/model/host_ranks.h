// The ranks of one host, which share memory. The first leads.
#pragma once

#include <algorithm>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

class HostRanks {
 public:
  /// A rank that shares with nobody.
  HostRanks() = default;
  /// `ranks`: of `control`, distinct, this one among them (Machine::host_ranks). Borrows `control`.
  HostRanks(Communicator& control, std::vector<int> ranks)
      : control_(&control), ranks_(std::move(ranks)) {}

  bool alone() const { return ranks_.size() < 2; }
  int size() const { return std::max<int>(1, static_cast<int>(ranks_.size())); }
  int leader() const { return ranks_.front(); }
  bool leads() const { return alone() || control_->rank() == leader(); }
  /// All but the leader.
  std::vector<int> followers() const { return {ranks_.begin() + 1, ranks_.end()}; }
  Communicator& control() const { return *control_; }

 private:
  Communicator* control_ = nullptr;
  std::vector<int> ranks_;
};

}  // namespace longspan

// An ordered list of ranks that run a step together, over a long-lived communicator.
//
// Making a communicator per group costs milliseconds and a collective over everybody; a list costs
// nothing, so groups may change at every step (docs/decisions/0003). Indices into the list are
// what algorithms call "rank r of N".
#pragma once

#include <vector>

#include "comm/communicator.h"

namespace longspan {

class Group {
 public:
  /// `ranks`: distinct ranks of `communicator`, this rank among them. Borrows the communicator.
  Group(Communicator& communicator, std::vector<int> ranks);

  int rank() const { return index_; }
  int size() const { return static_cast<int>(ranks_.size()); }
  const std::vector<int>& ranks() const { return ranks_; }

  /// The ranks at `indices` of this group, this one among them, as a group of their own.
  Group part(const std::vector<int>& indices) const;

  /// As Communicator::exchange, with peers given as indices of this group.
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) const;
  /// As Communicator::is_prompt.
  bool is_prompt() const { return communicator_->is_prompt(); }
  /// As Communicator::moves_beside_kernels.
  bool moves_beside_kernels() const { return communicator_->moves_beside_kernels(); }

 private:
  Communicator* communicator_;
  std::vector<int> ranks_;
  int index_;
};

}  // namespace longspan

// Messages of any length between the coordinator (rank 0) and the workers.
//
// A message travels as one frame of fixed size, which holds the length and as much of the payload
// as fits, and a second one for the rest: the plan of a decode step is one message on the wire.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "runtime/engine/messages.h"

namespace longspan {

class ControlChannel {
 public:
  /// Borrows the communicator; nobody else may use it meanwhile. `deadline` bounds every send.
  ControlChannel(Communicator& control, std::chrono::milliseconds deadline);

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }

  void send(const std::vector<int>& peers, const Message& message);
  Message receive(int peer, Patience patience);
  /// Within the deadline of the channel.
  Message receive(int peer) { return receive(peer, {deadline_}); }

 private:
  Communicator& control_;
  std::chrono::milliseconds deadline_;
};

}  // namespace longspan

// Messages of any length between the coordinator (rank 0) and the workers.
//
// A message travels as one frame of 4 KiB, which holds the length and as much of the payload as
// fits, and the rest behind it, if there is any: the plan of a decode step of up to some 160 rows
// is one message on the wire.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "runtime/engine/messages.h"

namespace longspan {

class ControlChannel {
 public:
  /// Borrows the communicator; nobody else may use it meanwhile. Threads that talk to different
  /// peers may do so at once. `deadline` bounds every send
  /// and, unless it brings patience of its own, every receive.
  ControlChannel(Communicator& control, std::chrono::milliseconds deadline);

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }

  void send(const std::vector<int>& peers, const Message& message);
  /// `patience` is for the frame; the rest follows within the channel's deadline.
  Message receive(int peer, Patience patience);
  /// Within the deadline of the channel.
  Message receive(int peer) { return receive(peer, {deadline_}); }

 private:
  Communicator& control_;
  std::chrono::milliseconds deadline_;
};

}  // namespace longspan

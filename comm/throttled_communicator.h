// A communicator whose rank has a slow port: what the other ranks send it, and what it sends them,
// takes its time. For seeing on one machine what a network does (`longspan --throttle-link`).
//
//   port out   | bytes of exchange 1 | bytes of 2 |           one after another, whatever the peer
//   stream       sleep ............... real exchange, sleep until they could have come in ...
//
// A sender holds its bytes back before it gives them to the real transport, so that a receiver who
// waits already gets them late; a receiver who comes later waits for the latency and its own bytes
// again. Nothing spins, and the caller of exchange() is not held up: the stream's thread sleeps.
//
// The deadline of the communicator underneath still counts from the real exchange, and a peer's
// sleep is part of what it waits for: a message that takes longer than the deadline fails it.
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

#include "comm/communicator.h"
#include "comm/link_throttle.h"

namespace longspan {

class ThrottledCommunicator final : public Communicator {
 public:
  /// Borrows the communicator that moves the bytes; every rank throttles its own. Outlives the
  /// streams it is used on. A rank's messages to itself, and those of zero bytes, take no time.
  ThrottledCommunicator(Communicator& inner, const LinkThrottle& throttle);

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) override;
  Traffic traffic() const override { return inner_.traffic(); }

 private:
  using Clock = std::chrono::steady_clock;

  /// When an exchange that starts now may be through, in each direction.
  struct Window {
    Clock::time_point sent;
    Clock::time_point received;
  };

  template <typename Messages>
  std::size_t over_the_link(const Messages& messages) const;
  Window reserve(std::size_t out, std::size_t in);
  Clock::time_point take_turn(Clock::time_point& free, std::size_t bytes) const;

  Communicator& inner_;
  const LinkThrottle throttle_;
  std::mutex mutex_;  // several streams share the port
  Clock::time_point out_free_;
  Clock::time_point in_free_;
};

}  // namespace longspan

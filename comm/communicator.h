// Messages between ranks.
//
// An exchange is the sends and receives of one step, enqueued on a stream: it starts when the
// stream reaches it, and the stream goes on when all of it is done. Both sides know every size
// from the plan, so sizes never travel. Between two ranks messages match in the order in which
// their exchanges start. A rank that enqueues its exchanges of one communicator on one stream is
// always in order; on several streams events must order them.
//
// Nothing waits for ever: an exchange that is not done by the deadline fails its stream with a
// CommError that names the peers it waited for.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/device.h"

namespace longspan {

/// Bytes to one peer. They must stay as they are until the exchange is done.
struct Send {
  int peer;
  ConstBytes bytes;
};

/// Where the bytes from one peer land; as many as it sends.
struct Receive {
  int peer;
  Bytes bytes;
};

/// How long to wait, and how lazily. Nothing inside a step waits without a deadline. Without one
/// waits who may have to wait for a person or a whole file: a rank for its next plan, or for the
/// others at start. It may sleep up to 20 ms between two looks.
struct Patience {
  std::optional<std::chrono::milliseconds> deadline;
  std::chrono::microseconds longest_sleep{200};

  static Patience forever() { return {std::nullopt, std::chrono::milliseconds(20)}; }
};

/// What went over a communicator since it was made. Zero-length messages are not sent and not
/// counted; a message cut into pieces for the transport counts once.
struct Traffic {
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_messages = 0;
  std::uint64_t received_messages = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Enqueues the exchange on `stream` under the communicator's own deadline. A peer may be named
  /// more than once; its messages match in list order.
  virtual void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) = 0;

  /// The same, but blocks the caller: for start-up and for the control plane. Throws CommError.
  virtual void transfer(std::vector<Send> sends, std::vector<Receive> receives,
                        Patience patience) = 0;

  virtual Traffic traffic() const = 0;

  /// Whether an exchange of few bytes takes no longer than handing over to another stream and back:
  /// then nothing is gained by letting one of its own wait for it.
  virtual bool is_prompt() const { return false; }

  /// Whether messages of any size arrive while a kernel has the whole device: then it may wait for
  /// them in the midst of its work.
  virtual bool moves_beside_kernels() const { return false; }
};

}  // namespace longspan

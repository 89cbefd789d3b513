// What a batch asks of an engine: this is all of run-batch that knows sessions and coordinators.
//
//   submit any number, at any time --> step, step, ... --> prefill and token events --> end early
#pragma once

#include <cstdint>
#include <functional>

#include "launch/answer_recorder.h"
#include "runtime/engine/job.h"

namespace longspan {

class BatchEngine {
 public:
  /// Called by the thread of step().
  struct Events {
    /// Part of a prompt is about to be read.
    std::function<void(const Progress&)> prefill;
    /// A token was sampled, in order of position per request.
    std::function<void(RequestId, const Scored&)> token;
  };
  /// For how much memory is set aside.
  struct Room {
    std::int64_t tokens = 0;  // most of one request, prompt and answer
    bool gives_way = false;   // to what memory holds of one request
  };

  /// Opens an engine on all ranks, each of which calls this; `serve` is called on rank 0, whose
  /// `events` they are (null on the others), and the engine closes when it returns. Memory is
  /// planned for as many requests of `room` as may run at once, or as many as fit. Throws as
  /// run_session().
  static void open(Machine& machine, LoadedModel& model, const JobOptions& options, Room room,
                   const Events* events, const std::function<void(BatchEngine&)>& serve);

  /// Tokens of one request for which there is memory.
  std::int64_t room() const { return room_; }
  /// Queues a request of at most room() tokens; it starts when its memory is free. `top`:
  /// alternatives to report with each token.
  void submit(RequestId id, const RecordedRequest& request, int top);
  /// Before the next step: the request gets no more tokens.
  void end(RequestId id) { coordinator_.end(id); }
  /// Runs one step; false when nothing is left to do.
  bool step() { return coordinator_.step(); }
  /// The part of all KV memory that is promised to requests that have started.
  double kv_share() const;

 private:
  BatchEngine(Coordinator& coordinator, const SessionInput& session);

  Coordinator& coordinator_;
  std::int64_t room_;
};

}  // namespace longspan

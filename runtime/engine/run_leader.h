// How the ranks of a run take its steps without a plan (scheduler/decode_run.h): one of them leads.
//
//   leader   step | hears who sampled | next step, or the end, to all | step ...
//   member   step | says what it sampled ........................... | step ...
//
// What the next step is follows from what was sampled, and whether there is one too, unless rank 0
// has asked for the end: so one says it, and no step begins on one rank that another does not take.
//
// Rank 0 hears of each step, and answers each report but the last with a word. The leader heeds it
// a step later, when it is there already: rank 0 is never more than a step behind, what it asks for
// is done with the next step, and no step waits for it while it keeps up.
#pragma once

#include <vector>

#include "runtime/engine/control_channel.h"
#include "runtime/engine/step_worker.h"
#include "scheduler/decode_run.h"

namespace longspan {

class RunLeader {
 public:
  /// Borrows channel and worker. `first` is the order of the run's first step, which the others
  /// have been told of.
  RunLeader(ControlChannel& control, StepWorker& worker, StepOrder first);

  /// Does this rank's part of the step, and waits for those who sample: what was sampled.
  std::vector<RankReport> step();
  /// Behind a step: whether none is left.
  bool is_over() const { return over_; }
  /// Tells the others of the next step.
  void go_on();
  /// Tells them that there is none. What each of the run reports last.
  std::vector<RankReport> end();

 private:
  ControlChannel& control_;
  StepWorker& worker_;
  StepOrder order_;  // under way or, behind a step, the next one; without its run
  DecodeRun run_;
  std::vector<int> others_;
  StepReport own_;
  bool over_ = false;
};

/// Of another rank than rank 0: leads the run that begins with `first`, and tells rank 0.
void lead_run(ControlChannel& control, StepWorker& worker, StepOrder first);
/// Of the others of the run: takes its steps until the leader ends it.
void follow_run(ControlChannel& control, StepWorker& worker, StepOrder order);

}  // namespace longspan

// Rank 0's line to the ranks of one group: what they are told, in order, and what they report.
//
//   coordinator    admit   step                                     an outcome, when it comes
//                     \       \                                   /
//   line               to all  plan to ranks | own part | reports
//
// Where a job has several groups each line has a thread, which waits for the group's ranks so that
// nobody else has to: the coordinator only hears of steps that are done. Rank 0's own part of a
// step is done by its group's line. The only line of a job needs no thread, since nobody else is to
// be served meanwhile: then a call returns when all is done.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/engine/control_channel.h"
#include "runtime/engine/step_worker.h"
#include "scheduler/cost_model.h"

namespace longspan {

struct RankReport {
  int rank = 0;
  StepReport report;
};

/// What came of a step: its ranks' reports, rank 0's first and then in the order of its instances,
/// or why there are none.
struct StepOutcome {
  int group = 0;
  std::vector<RankReport> reports;
  Nanoseconds took = 1;  // above 0
  std::exception_ptr failure;
};

class GroupLine {
 public:
  /// Who it is for, and how it works.
  struct Setting {
    int group = 0;
    std::vector<int> instances;
    bool has_thread = false;
    std::function<void(StepOutcome)> done;  // called for each step, by the line's thread if any
  };

  /// Borrows channel and worker, which is rank 0's: with a thread nobody else may use the worker if
  /// rank 0 is in the group, until the line is gone.
  GroupLine(ControlChannel& control, StepWorker& worker, Setting setting);
  /// Waits for what is under way, and drops what is not.
  ~GroupLine();
  GroupLine(const GroupLine&) = delete;
  GroupLine& operator=(const GroupLine&) = delete;

  /// World ranks of the group, instance by instance.
  const std::vector<int>& ranks() const { return ranks_; }
  bool has_rank_0() const { return has_rank_0_; }
  /// Those that are told by message.
  const std::vector<int>& peers() const { return peers_; }

  /// Tells all of the group of a request. What fails is told with the next step.
  void admit(Admission admission);
  /// Does a step, of which all of the group are told or only those who do something. `order` must
  /// stay as it is until the outcome is there.
  void step(const StepOrder& order, bool tells_all, LayerDone layer);
  /// Does something else with the group's ranks, behind all else, and waits for it.
  void call(const std::function<void()>& action);

 private:
  void post(std::function<void()> action);
  void serve();
  StepOutcome outcome_of(const StepOrder& order, bool tells_all, const LayerDone& layer);
  void run(StepOutcome& outcome, const StepOrder& order, bool tells_all, const LayerDone& layer);

  ControlChannel& control_;
  StepWorker& worker_;
  const Setting setting_;
  const std::vector<int> ranks_;
  const bool has_rank_0_;
  std::vector<int> peers_;
  std::exception_ptr failure_;  // of something between steps; of the line's thread alone

  std::mutex mutex_;  // guards these
  std::condition_variable news_;
  std::deque<std::function<void()>> posted_;
  bool closing_ = false;

  std::optional<std::thread> thread_;
};

}  // namespace longspan

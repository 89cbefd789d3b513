// Rank 0's line to the ranks of one group: what they are told, in order, and what they report.
//
//   coordinator    admit   step                                     an outcome, when it comes
//                     \       \                                   /
//   line               to all  plan to ranks | own part | reports
//
// A plan may hold for a run of steps: then there is an outcome for each as it ends, and nobody
// waits for an answer to them. A rank of the run leads it (run_leader.h). Without a thread that is
// rank 0, since its part is done by calls that come one by one; else the first that has a part.
//
// Where a job has several groups each line has a thread, which waits for the group's ranks so that
// nobody else has to: the coordinator only hears of steps that are done. Rank 0's own part of a
// step is done by its group's line. The only line of a job needs no thread, since nobody else is to
// be served meanwhile: then a call returns when all is done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/engine/control_channel.h"
#include "runtime/engine/run_leader.h"
#include "runtime/engine/step_worker.h"
#include "scheduler/cost_model.h"

namespace longspan {

/// What came of a step: its ranks' reports, rank 0's first and then in the order of its instances,
/// or why there are none. In a run the reports of who sampled, and with the last those of all.
struct StepOutcome {
  int group = 0;
  std::vector<RankReport> reports;
  bool is_step = true;   // or the end of a run between two steps
  bool over = true;      // no step of the plan is left
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
  bool has_thread() const { return setting_.has_thread; }
  /// Those that are told by message.
  const std::vector<int>& peers() const { return peers_; }

  /// Tells all of the group of a request. What fails is told with the next step.
  void admit(Admission admission);
  /// Has its ranks send pages to others that expect them, before what is told later.
  void send_pages(std::vector<PageSend> pages);
  /// Who leads the run of `plan`.
  int leader_of(const StepPlan& plan) const;
  /// Does a step, of which all of the group are told or only those who do something. With a thread
  /// also the others of its run, if it has one; else each with a call of go_on().
  void step(StepOrder order, bool tells_all, LayerDone layer);
  /// Without a thread, of a run that is not over: its next step, or its end if that was asked for.
  void go_on();
  /// From any thread: no step of the run is to begin but those that a rank may have begun.
  void end_run() { ends_run_ = true; }
  /// Does something else with the group's ranks, behind all else, and waits for it.
  void call(const std::function<void()>& action);

 private:
  void post(std::function<void()> action);
  void post_word(std::function<void()> action);
  void serve();
  /// Does `part` of a plan, and says what came of it. False when nothing is left to do.
  bool tell(const std::function<void(StepOutcome&)>& part);
  void begin(StepOutcome& outcome, const StepOrder& order, bool tells_all, const LayerDone& layer);
  void report_all(StepOutcome& outcome, const StepOrder& order, const LayerDone& layer);
  void next_of_run(StepOutcome& outcome);
  void lead(StepOutcome& outcome);
  void hear(StepOutcome& outcome);

  ControlChannel& control_;
  StepWorker& worker_;
  const Setting setting_;
  const std::vector<int> ranks_;
  const bool has_rank_0_;
  std::vector<int> peers_;
  // Of the line's thread alone:
  std::exception_ptr failure_;           // of something between steps
  std::optional<RunLeader> leads_;       // the run under way, if rank 0 leads it
  int hears_from_ = StepOrder::kNobody;  // the rank that does, else
  std::atomic<bool> ends_run_ = false;

  std::mutex mutex_;  // guards these
  std::condition_variable news_;
  std::deque<std::function<void()>> posted_;
  bool closing_ = false;

  std::optional<std::thread> thread_;
};

}  // namespace longspan

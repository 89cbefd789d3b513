#include "runtime/engine/group_line.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

namespace longspan {

GroupLine::GroupLine(ControlChannel& control, StepWorker& worker, Setting setting)
    : control_(control),
      worker_(worker),
      setting_(std::move(setting)),
      ranks_(worker.ranks().all(setting_.instances)),
      has_rank_0_(std::ranges::count(ranks_, control.rank()) > 0),
      peers_(ranks_) {
  std::erase(peers_, control.rank());
  if (setting_.has_thread) thread_.emplace([this] { serve(); });
}

GroupLine::~GroupLine() {
  if (!thread_) return;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  news_.notify_one();
  thread_->join();
}

void GroupLine::admit(Admission admission) {
  post([this, admission = std::move(admission)]() mutable {
    try {
      control_.send(peers_, to_message(admission));
      if (has_rank_0_) worker_.admit(std::move(admission));
    } catch (...) {
      failure_ = std::current_exception();
    }
  });
}

void GroupLine::step(const StepOrder& order, bool tells_all, LayerDone layer) {
  post([this, &order, tells_all, layer = std::move(layer)] {
    setting_.done(outcome_of(order, tells_all, layer));
  });
}

void GroupLine::call(const std::function<void()>& action) {
  std::packaged_task<void()> task([&] {
    if (failure_) std::rethrow_exception(failure_);
    action();
  });
  post([&task] { task(); });
  task.get_future().get();
}

void GroupLine::post(std::function<void()> action) {
  if (!thread_) return action();
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(action));
  }
  news_.notify_one();
}

void GroupLine::serve() {
  for (;;) {
    std::function<void()> action;
    {
      std::unique_lock lock(mutex_);
      news_.wait(lock, [this] { return closing_ || !posted_.empty(); });
      if (closing_) return;
      action = std::move(posted_.front());
      posted_.pop_front();
    }
    action();
  }
}

StepOutcome GroupLine::outcome_of(const StepOrder& order, bool tells_all, const LayerDone& layer) {
  using Clock = std::chrono::steady_clock;
  StepOutcome outcome{.group = setting_.group, .reports = {}, .failure = failure_};
  if (failure_) return outcome;
  const auto begun = Clock::now();
  try {
    run(outcome, order, tells_all, layer);
  } catch (...) {
    outcome.failure = std::current_exception();
  }
  outcome.took = std::max<Nanoseconds>(1, std::chrono::nanoseconds(Clock::now() - begun).count());
  return outcome;
}

/// Of the others those that do nothing in the step do not report.
void GroupLine::run(StepOutcome& outcome, const StepOrder& order, bool tells_all,
                    const LayerDone& layer) {
  std::vector<int> members = worker_.ranks().all(order.plan.group);
  std::erase(members, control_.rank());
  control_.send(tells_all ? peers_ : members, to_message(order));
  if (has_rank_0_) outcome.reports.push_back({control_.rank(), worker_.execute(order, layer)});
  for (const int rank : members) {
    outcome.reports.push_back({rank, read_report(control_.receive(rank))});
  }
}

}  // namespace longspan

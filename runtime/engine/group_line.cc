#include "runtime/engine/group_line.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>
#include <utility>

#include "comm/error.h"

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
  end_run();
  news_.notify_one();
  thread_->join();
}

void GroupLine::admit(Admission admission) {
  post_word([this, admission = std::move(admission)]() mutable {
    control_.send(peers_, to_message(admission));
    if (has_rank_0_) worker_.admit(std::move(admission));
  });
}

void GroupLine::send_pages(std::vector<PageSend> pages) {
  post_word([this, pages = std::move(pages)] {
    std::vector<int> owners;
    for (const PageSend& page : pages) owners.push_back(page.from.owner);
    std::ranges::sort(owners);
    const auto same = std::ranges::unique(owners);
    owners.erase(same.begin(), same.end());
    std::vector<int> told = worker_.ranks().all(owners);
    const bool has_some = std::erase(told, control_.rank()) > 0;
    control_.send(told, to_message(pages));
    if (has_some) worker_.send_pages(pages);
  });
}

int GroupLine::leader_of(const StepPlan& plan) const {
  if (!setting_.has_thread) return control_.rank();
  return worker_.ranks().rank_of(plan.group.front(), 0);
}

void GroupLine::step(StepOrder order, bool tells_all, LayerDone layer) {
  ends_run_ = false;
  post([this, order = std::move(order), tells_all, layer = std::move(layer)] {
    bool more = tell([&](StepOutcome& outcome) { begin(outcome, order, tells_all, layer); });
    if (!setting_.has_thread) return;
    while (more) more = tell([this](StepOutcome& outcome) { next_of_run(outcome); });
  });
}

void GroupLine::go_on() {
  expects(!setting_.has_thread, "with a thread a run goes on by itself");
  (void)tell([this](StepOutcome& outcome) { next_of_run(outcome); });
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

/// Nobody answers: what fails is told with the next step.
void GroupLine::post_word(std::function<void()> action) {
  post([this, action = std::move(action)] {
    try {
      action();
    } catch (...) {
      failure_ = std::current_exception();
    }
  });
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

bool GroupLine::tell(const std::function<void(StepOutcome&)>& part) {
  using Clock = std::chrono::steady_clock;
  StepOutcome outcome{.group = setting_.group, .reports = {}, .failure = failure_};
  const auto begun = Clock::now();
  try {
    if (!failure_) part(outcome);
  } catch (...) {
    outcome.failure = std::current_exception();
  }
  outcome.took = std::max<Nanoseconds>(1, std::chrono::nanoseconds(Clock::now() - begun).count());
  const bool more = !outcome.failure && !outcome.over;
  setting_.done(std::move(outcome));
  return more;
}

/// Who leads a run hears of it if only for that.
void GroupLine::begin(StepOutcome& outcome, const StepOrder& order, bool tells_all,
                      const LayerDone& layer) {
  std::vector<int> told = tells_all ? peers_ : worker_.ranks().all(order.plan.group);
  std::erase(told, control_.rank());
  control_.send(told, to_message(order));
  if (order.leader == StepOrder::kNobody) return report_all(outcome, order, layer);
  if (order.leader == control_.rank()) {
    leads_.emplace(control_, worker_, order);
    return lead(outcome);
  }
  hears_from_ = order.leader;
  if (has_rank_0_) (void)worker_.execute(order, layer);
  hear(outcome);
}

/// Of the others those that do nothing in the step do not report.
void GroupLine::report_all(StepOutcome& outcome, const StepOrder& order, const LayerDone& layer) {
  if (has_rank_0_) outcome.reports.push_back({control_.rank(), worker_.execute(order, layer)});
  for (const int rank : worker_.ranks().all(order.plan.group)) {
    if (rank == control_.rank()) continue;
    outcome.reports.push_back({rank, read_report(control_.receive(rank))});
  }
}

void GroupLine::next_of_run(StepOutcome& outcome) {
  if (!leads_) {
    control_.send({hears_from_}, run_word(ends_run_));
    return hear(outcome);
  }
  if (ends_run_) {
    outcome.is_step = false;
    outcome.reports = leads_->end();
    leads_.reset();
    return;
  }
  leads_->go_on();
  lead(outcome);
}

void GroupLine::lead(StepOutcome& outcome) {
  outcome.reports = leads_->step();
  outcome.over = leads_->is_over();
  if (!outcome.over) return;
  std::ranges::move(leads_->end(), std::back_inserter(outcome.reports));
  leads_.reset();
}

void GroupLine::hear(StepOutcome& outcome) {
  RunReport report = read_run_report(control_.receive(hears_from_));
  outcome.reports = std::move(report.reports);
  outcome.over = report.over;
}

}  // namespace longspan

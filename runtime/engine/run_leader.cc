#include "runtime/engine/run_leader.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "comm/error.h"

namespace longspan {
namespace {

/// Whether the rank samples for a row of the plan.
bool samples(const InstanceRanks& ranks, int rank, const StepPlan& plan) {
  return ranks.part_of(rank) == 0 &&
         std::ranges::count(plan.decode, ranks.instance_of(rank), &DecodeStep::master) > 0;
}

/// What is left to say of a step that was told: that it is the last, and `kept`, which was not.
StepReport last_report(const StepReport& report, TierNews kept) {
  return {.epoch = report.epoch, .kv_pages = report.kv_pages, .tier = std::move(kept)};
}

void append(TierNews& all, const TierNews& some) {
  all.fetched.insert(all.fetched.end(), some.fetched.begin(), some.fetched.end());
  all.lost.insert(all.lost.end(), some.lost.begin(), some.lost.end());
}

}  // namespace

RunLeader::RunLeader(ControlChannel& control, StepWorker& worker, StepOrder first)
    : control_(control),
      worker_(worker),
      order_(std::move(first)),
      run_(std::exchange(order_.plan.run, {})),
      others_(worker.ranks().all(order_.plan.group)) {
  std::erase(others_, control.rank());
}

std::vector<RankReport> RunLeader::step() {
  std::vector<RankReport> reports;
  reports.push_back({control_.rank(), worker_.execute(order_)});
  own_ = last_report(reports.front().report, {});
  for (const int rank : others_) {
    if (!samples(worker_.ranks(), rank, order_.plan)) continue;
    reports.push_back({rank, read_report(control_.receive(rank))});
  }
  over_ = !step_on(order_.plan, run_, sampled(rows_of(reports)));
  return reports;
}

void RunLeader::go_on() { control_.send(others_, to_message(order_)); }

std::vector<RankReport> RunLeader::end() {
  control_.send(others_, run_end());
  std::vector<RankReport> reports{{control_.rank(), own_}};
  for (const int rank : others_) reports.push_back({rank, read_report(control_.receive(rank))});
  return reports;
}

void lead_run(ControlChannel& control, StepWorker& worker, StepOrder first) {
  RunLeader leader(control, worker, std::move(first));
  for (bool is_first = true;; is_first = false) {
    RunReport report{.reports = leader.step(), .over = leader.is_over()};
    if (!is_first && read_run_word(control.receive(0))) report.over = true;
    if (report.over) {
      std::ranges::move(leader.end(), std::back_inserter(report.reports));
    } else {
      leader.go_on();
    }
    control.send({0}, to_message(report));
    if (report.over) return;
  }
}

/// Rank 0 may take its time between two steps, as between two plans.
void follow_run(ControlChannel& control, StepWorker& worker, StepOrder order) {
  const int leader = order.leader;
  TierNews kept;  // of steps in which it had no tokens to tell
  for (;;) {
    const StepReport report = worker.execute(order);
    if (samples(worker.ranks(), control.rank(), order.plan)) {
      control.send({leader}, to_message(report));
    } else {
      append(kept, report.tier);
    }
    const Message next =
        leader == 0 ? control.receive(leader, Patience::forever()) : control.receive(leader);
    if (next.type == MessageType::kRunEnd) {
      return control.send({leader}, to_message(last_report(report, std::move(kept))));
    }
    order = read_order(next);
  }
}

}  // namespace longspan

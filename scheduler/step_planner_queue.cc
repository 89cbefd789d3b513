// In which order StepPlanner starts the requests that wait.
#include <algorithm>
#include <tuple>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

void StepPlanner::start_next(StepPlan& plan, const CostModel* costs, Nanoseconds now) {
  if (!costs) return start_waiting(plan);
  order_waiting(*costs, now);
  const std::size_t running_before = running_.size();
  start_waiting(plan);
  count_passed(running_before);
}

/// By slack: start_waiting() takes them from the front, and stops at the first that does not fit.
void StepPlanner::order_waiting(const CostModel& costs, Nanoseconds now) {
  if (waiting_.size() < 2) return;
  const PrefillCost cost = costs.prefill(rules_.degree);
  std::vector<QueuedRequest> queue;
  for (const RequestShape& request : waiting_) {
    const Nanoseconds solo =
        to_nanoseconds(cost.seconds_in_chunks({0, request.prompt_tokens}, rules_.chunk_tokens));
    const auto passed = passed_.find(request.id);
    queue.push_back({.id = request.id,
                     .urgency = request.urgency,
                     .arrival = request.arrival,
                     .allowed = allowed_time(request.arrival, solo),
                     .solo = solo,
                     .overtaken = passed == passed_.end() ? 0 : passed->second});
  }
  std::map<RequestId, std::int64_t> place;
  for (const RequestId id : queue_order(std::move(queue), now, options_.max_passed)) {
    place.emplace(id, std::ssize(place));
  }
  std::ranges::stable_sort(waiting_, {},
                           [&](const RequestShape& request) { return place.at(request.id); });
}

/// For those that still wait, who started at the end of `running_`; those that do not wait any more
/// are forgotten.
void StepPlanner::count_passed(std::size_t running_before) {
  std::map<RequestId, int> passed;
  const auto turn = [](const RequestShape& shape) { return std::tuple(shape.arrival, shape.id); };
  for (const RequestShape& request : waiting_) {
    const auto before = passed_.find(request.id);
    int count = before == passed_.end() ? 0 : before->second;
    for (std::size_t i = running_before; i < running_.size(); ++i) {
      count += turn(running_[i].shape) > turn(request);
    }
    if (count > 0) passed.emplace(request.id, count);
  }
  passed_ = std::move(passed);
}

}  // namespace longspan

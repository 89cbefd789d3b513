// In which order StepPlanner starts the requests that wait.
#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {
namespace {

std::size_t class_of(const RequestShape& request) {
  return static_cast<std::size_t>(request.urgency);
}

auto turn_of(const RequestShape& request) { return std::tuple(request.arrival, request.id); }

}  // namespace

void StepPlanner::start_next(StepPlan& plan, const CostModel* costs, Nanoseconds now,
                             PageLender* others) {
  if (costs || !is_one_line()) order_waiting(costs, now);
  const std::size_t running_before = running_.size();
  start_waiting(plan, costs, others);
  if (running_.size() == running_before) return;
  charge_tenants(running_before);
  count_passed(running_before);
}

/// Whether nothing but their arrival tells apart those that wait: they are in that order.
bool StepPlanner::is_one_line() const {
  return std::ranges::all_of(waiting_, [&](const RequestShape& request) {
    const RequestShape& first = waiting_.front();
    return request.tenant == first.tenant && request.urgency == first.urgency && !request.deadline;
  });
}

/// By tenants and slack: start_waiting() takes them from the front, and stops at the first that
/// does not fit. Where there are no costs nobody knows what a prompt takes.
void StepPlanner::order_waiting(const CostModel* costs, Nanoseconds now) {
  enter_tenants();
  if (waiting_.size() < 2) return;
  std::optional<PrefillCost> cost;
  if (costs) cost = costs->prefill(rules_.degree);
  std::vector<QueuedRequest> queue;
  for (const RequestShape& request : waiting_) {
    const Nanoseconds solo =
        cost ? to_nanoseconds(cost->seconds_in_chunks({0, to_read(request)}, rules_.chunk_tokens))
             : 0;
    const auto passed = passed_.find(request.id);
    queue.push_back({.id = request.id,
                     .urgency = request.urgency,
                     .arrival = request.arrival,
                     .allowed = allowed_time(request.arrival, solo, request.deadline),
                     .solo = solo,
                     .overtaken = passed == passed_.end() ? 0 : passed->second,
                     .tenant = request.tenant,
                     .cost = preempted_.contains(request.id) ? 0 : first_promise(request)});
  }
  std::map<RequestId, std::int64_t> place;
  for (const RequestId id : queue_order(std::move(queue), now, options_.max_passed, rounds_)) {
    place.emplace(id, std::ssize(place));
  }
  std::ranges::stable_sort(waiting_, {},
                           [&](const RequestShape& request) { return place.at(request.id); });
}

/// In order of arrival, which decides who of those that are new is first in the round.
void StepPlanner::enter_tenants() {
  std::array<std::vector<TenantRequest>, std::tuple_size_v<ClassRounds>> classes;
  std::array<std::set<std::string>, std::tuple_size_v<ClassRounds>> tenants;
  std::vector<const RequestShape*> waiting;
  for (const RequestShape& request : waiting_) waiting.push_back(&request);
  std::ranges::sort(waiting, {}, [](const RequestShape* request) { return turn_of(*request); });
  for (const RequestShape* request : waiting) {
    const std::size_t its = class_of(*request);
    if (tenants[its].insert(request->tenant).second) classes[its].push_back({0, request->tenant});
  }
  for (std::size_t i = 0; i < rounds_.size(); ++i) {
    rounds_[i].keep(tenants[i]);
    rounds_[i].enter(classes[i]);
  }
}

/// Who started is at the end of `running_`. Who goes on after it had gone back has paid.
void StepPlanner::charge_tenants(std::size_t running_before) {
  for (std::size_t i = running_before; i < running_.size(); ++i) {
    const Running& request = running_[i];
    if (request.preempted > 0) continue;
    rounds_[class_of(request.shape)].charge(request.shape.tenant, first_promise(request.shape));
  }
}

/// For those that still wait; those that do not wait any more are forgotten. Each counts later ones
/// of its own tenant: others take turns with that. Of those that nobody waits for the first one
/// counts all that somebody does, so that one of them starts now and then.
void StepPlanner::count_passed(std::size_t running_before) {
  const RequestShape* first_batch = nullptr;
  for (const RequestShape& request : waiting_) {
    const bool is_first = !first_batch || turn_of(request) < turn_of(*first_batch);
    if (request.urgency == Urgency::kBatch && is_first) first_batch = &request;
  }
  std::map<RequestId, int> passed;
  for (const RequestShape& request : waiting_) {
    const auto before = passed_.find(request.id);
    int count = before == passed_.end() ? 0 : before->second;
    for (std::size_t i = running_before; i < running_.size(); ++i) {
      const RequestShape& started = running_[i].shape;
      const bool before_a_batch =
          &request == first_batch && started.urgency == Urgency::kInteractive;
      count += turn_of(started) > turn_of(request) &&
               (started.tenant == request.tenant || before_a_batch);
    }
    if (count > 0) passed.emplace(request.id, count);
  }
  passed_ = std::move(passed);
}

}  // namespace longspan

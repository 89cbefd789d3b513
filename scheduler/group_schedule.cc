#include "scheduler/group_schedule.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "scheduler/policies/static_sp.h"
#include "scheduler/work_price.h"

namespace longspan {
namespace {

WorkPrice price_of(const PlannerOptions& group, const CostModel* costs) {
  if (!costs) return {};
  return {*costs, static_cast<int>(group.group.size()), group.chunk_tokens};
}

}  // namespace

GroupSchedule::GroupSchedule(PlannerOptions group)
    : GroupSchedule(std::make_unique<StaticSp>(static_cast<int>(group.group.size())), {group}) {}

GroupSchedule::GroupSchedule(std::unique_ptr<Policy> policy, std::vector<PlannerOptions> groups)
    : policy_(std::move(policy)) {
  if (groups.empty()) throw std::logic_error("a job has a group");
  for (PlannerOptions& options : groups) planners_.emplace_back(std::move(options));
}

std::optional<int> GroupSchedule::group_of(RequestId request) const {
  const auto found = home_.find(request);
  return found == home_.end() ? std::nullopt : std::optional(found->second);
}

bool GroupSchedule::could_run(const RequestShape& request) const {
  return std::ranges::any_of(planners_, [&](const StepPlanner& p) { return p.could_run(request); });
}

/// Of the groups that could run it.
std::vector<GroupLoad> GroupSchedule::loads(const RequestShape& request,
                                            const CostModel* costs) const {
  std::vector<GroupLoad> loads;
  for (int group = 0; group < groups(); ++group) {
    const StepPlanner& planner = planners_[group];
    if (!planner.could_run(request)) continue;
    const WorkPrice price = price_of(planner.options(), costs);
    const std::int64_t expected = planner.expected_of(request);
    loads.push_back({.group = group,
                     .outstanding = planner.outstanding(price),
                     .added = price.of({.computed = expected,
                                        .prompt = request.prompt_tokens - expected,
                                        .answer = request.max_new})});
  }
  return loads;
}

/// Another answer to a prompt goes where that is.
std::optional<int> GroupSchedule::group_for(const RequestShape& request,
                                            const CostModel* costs) const {
  if (groups() == 1) return 0;
  if (request.like) {
    if (const auto same = group_of(*request.like)) return same;
  }
  const auto loads = this->loads(request, costs);
  return loads.empty() ? std::nullopt : std::optional(policy_->group_for(loads));
}

bool GroupSchedule::submit(RequestShape request, const CostModel* costs) {
  const auto group = group_for(request, costs);
  if (!group) return false;
  StepPlanner& planner = planners_[*group];
  if (groups() > 1) request.expected = planner.expected_of(request);
  if (!planner.submit(request)) return false;
  home_[request.id] = *group;
  return true;
}

std::optional<RestoredPlace> GroupSchedule::restore(const RequestShape& request,
                                                    const CostModel* costs) {
  for (auto loads = this->loads(request, costs); !loads.empty();) {
    const int group = policy_->group_for(loads);
    if (auto place = planners_[group].restore(request)) {
      forget(place->finished);
      home_[request.id] = group;
      return place;
    }
    std::erase_if(loads, [&](const GroupLoad& load) { return load.group == group; });
  }
  return std::nullopt;
}

std::optional<std::int64_t> GroupSchedule::extend(const RequestShape& request,
                                                  std::int64_t common) {
  return planners_[home(request.id)].extend(request, common);
}

void GroupSchedule::name_more(RequestId request, std::span<const PageHash> names) {
  if (const auto group = group_of(request)) planners_[*group].name_more(request, names);
}

bool GroupSchedule::move(RequestId request, std::int64_t page, int to) {
  const auto group = group_of(request);
  return group && planners_[*group].move(request, page, to);
}

void GroupSchedule::end(RequestId request) {
  if (const auto group = group_of(request)) planners_[*group].end(request);
}

void GroupSchedule::abort(RequestId request) {
  if (const auto group = group_of(request)) planners_[*group].abort(request);
}

bool GroupSchedule::holds(RequestId request) const {
  const auto group = group_of(request);
  return group && planners_[*group].holds(request);
}

std::optional<StepPlan> GroupSchedule::next(int group, const CostModel* costs, Nanoseconds now) {
  std::optional<StepPlan> plan = planners_.at(group).next(costs, now);
  if (plan) forget(plan->finished);
  return plan;
}

std::vector<RequestId> GroupSchedule::completed(int group,
                                                const std::vector<SampledToken>& sampled) {
  return planners_.at(group).completed(sampled);
}

/// The ranks are told of them: nothing more is said about them.
void GroupSchedule::forget(const std::vector<RequestId>& finished) {
  for (const RequestId request : finished) home_.erase(request);
}

std::vector<PlannerOptions> options_of_groups(const Policy& policy, const PlannerOptions& common,
                                              int instances, std::int64_t pages,
                                              std::int64_t tier_places) {
  std::vector<PlannerOptions> list;
  for (std::vector<int>& group : policy.groups(instances)) {
    PlannerOptions options = common;
    options.filling = policy.filling();
    options.capacity.assign(instances, 0);
    for (const int instance : group) options.capacity[instance] = pages;
    if (tier_places > 0) options.tier.assign(instances, 0);
    for (const int instance : group) {
      if (tier_places > 0) options.tier[instance] = tier_places;
    }
    options.group = std::move(group);
    list.push_back(std::move(options));
  }
  return list;
}

}  // namespace longspan

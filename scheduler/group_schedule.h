// The groups of a job, each with a planner of its own, and which group has which request.
//
//   submit --policy--> group 0   next --> plan ... completed     a step of its own at a time
//                      group 1   next ------> plan ............. completed
//                      ...
//
// A group's steps are nobody else's business: what is asked of one group changes no other, so no
// group waits for another's step. A request stays with its group until it is forgotten, and so do
// its pages. What is shared of them other groups may get copies of (prefix_choice.h): while those
// are made, pages are lent, which costs the lender places and no step.
//
// Pure, as all of this folder. Calls about one request are as StepPlanner's, between the steps of
// its group; only submit() may come at any time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler/policies/policy.h"
#include "scheduler/prefix_choice.h"
#include "scheduler/step_planner.h"

namespace longspan {

class WorkPrice;

/// Requests that went to a group, by how they were to come to what is computed of their prompts.
struct PrefixCounts {
  std::int64_t joined = 0;
  std::int64_t replicated = 0;
  std::int64_t recomputed = 0;
};

class GroupSchedule {
 public:
  /// One group.
  explicit GroupSchedule(PlannerOptions group);
  /// Of the policy's groups, one planner each.
  GroupSchedule(std::unique_ptr<Policy> policy, std::vector<PlannerOptions> groups);

  int groups() const { return static_cast<int>(planners_.size()); }
  const StepPlanner& planner(int group) const { return planners_.at(group); }
  /// Nothing for a request that nobody knows.
  std::optional<int> group_of(RequestId request) const;
  /// Of a request that somebody knows.
  const StepPlanner& planner_of(RequestId request) const { return planners_[home(request)]; }

  /// Whether some group could run it. Depends on nothing that changes.
  bool could_run(const RequestShape& request) const;
  /// Queues a request with the group that the policy names: that of the request it is `like`, or
  /// one of those that could run it, by work at `costs`, if any: see choose_prefix(). False when
  /// none could.
  [[nodiscard]] bool submit(RequestShape request, const CostModel* costs = nullptr);
  /// With the first group, by rising work, that has room now.
  [[nodiscard]] std::optional<RestoredPlace> restore(const RequestShape& request,
                                                     const CostModel* costs = nullptr);
  [[nodiscard]] std::optional<std::int64_t> extend(const RequestShape& request,
                                                   std::int64_t common);
  void name_more(RequestId request, std::span<const PageHash> names);
  [[nodiscard]] bool move(RequestId request, std::int64_t page, int to);
  void end(RequestId request);
  void abort(RequestId request);
  bool holds(RequestId request) const;

  std::optional<StepPlan> next(int group, const CostModel* costs = nullptr, Nanoseconds now = 0);
  void note(int group, const TierNews& news);
  std::vector<RequestId> completed(int group, const std::vector<SampledToken>& sampled);

  /// Where there are several groups.
  const PrefixCounts& prefix_counts() const { return prefix_counts_; }
  /// The group that has an instance.
  int group_with(int instance) const;

 private:
  class Lender;
  /// Of how many pages that prompts begin with, and who would lend them.
  struct Loan {
    int group = 0;
    std::int64_t pages = 0;
  };

  int home(RequestId request) const { return home_.at(request); }
  std::optional<PrefixChoice> choice_for(const RequestShape& request, const CostModel* costs) const;
  std::vector<PrefixOffer> offers(const RequestShape& request, const CostModel* costs) const;
  std::optional<PrefixOffer::Copies> copies(const PrefixOffer& offer, const RequestShape& request,
                                            std::span<const std::int64_t> lendable,
                                            const WorkPrice& price) const;
  Loan lendable(int borrower, std::span<const PageHash> names, std::int64_t first) const;
  void count(PrefixWay way);
  void forget(const std::vector<RequestId>& finished);

  std::unique_ptr<Policy> policy_;
  std::vector<StepPlanner> planners_;
  std::map<RequestId, int> home_;  // of each request that is not forgotten
  PrefixCounts prefix_counts_;
};

/// Options of each group of `policy`: `common` but for the group, how its steps are filled, and the
/// pages of other instances, of which it has none. Each instance has as many as `pages`, and
/// places of a tier.
std::vector<PlannerOptions> options_of_groups(const Policy& policy, const PlannerOptions& common,
                                              int instances, std::int64_t pages,
                                              std::int64_t tier_places = 0);

}  // namespace longspan

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

/// The request's, when so many positions of its prompt are computed.
std::int64_t work_behind(std::int64_t computed, const RequestShape& request,
                         const WorkPrice& price) {
  return price.of({.computed = computed,
                   .prompt = request.prompt_tokens - computed,
                   .answer = request.max_new});
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

/// What all groups but one have.
class GroupSchedule::Lender final : public PageLender {
 public:
  Lender(GroupSchedule& schedule, int borrower) : schedule_(schedule), borrower_(borrower) {}

  std::int64_t lendable(std::span<const PageHash> names, std::int64_t first) const override {
    return schedule_.lendable(borrower_, names, first).pages;
  }
  std::vector<PageRef> lend(std::span<const PageHash> names, std::int64_t first) override {
    const Loan loan = schedule_.lendable(borrower_, names, first);
    return schedule_.planners_[loan.group].lend(names, first);
  }

 private:
  GroupSchedule& schedule_;
  const int borrower_;
};

/// By the group that has most of it, of equals the first.
GroupSchedule::Loan GroupSchedule::lendable(int borrower, std::span<const PageHash> names,
                                            std::int64_t first) const {
  Loan best;
  for (int group = 0; group < groups(); ++group) {
    if (group == borrower) continue;
    const std::int64_t pages = planners_[group].lendable(names, first);
    if (pages > best.pages) best = {group, pages};
  }
  return best;
}

/// Of the groups that could run it.
std::vector<PrefixOffer> GroupSchedule::offers(const RequestShape& request,
                                               const CostModel* costs) const {
  std::vector<std::int64_t> lendable;  // pages of the prompt, by group
  for (const StepPlanner& planner : planners_) {
    lendable.push_back(request.wants_nll ? 0 : planner.lendable(request.names, 0));
  }
  std::vector<PrefixOffer> offers;
  for (int group = 0; group < groups(); ++group) {
    const StepPlanner& planner = planners_[group];
    if (!planner.could_run(request)) continue;
    const WorkPrice price = price_of(planner.options(), costs);
    const std::int64_t expected = planner.expected_of(request);
    PrefixOffer offer{.group = group,
                      .outstanding = planner.outstanding(price),
                      .has = expected,
                      .own = work_behind(expected, request, price)};
    offer.copies = copies(offer, request, lendable, price);
    offers.push_back(std::move(offer));
  }
  return offers;
}

/// What the group could have copied of the prompt behind what it has, given what each can lend.
/// Where nobody knows what anything takes a page counts as a token.
std::optional<PrefixOffer::Copies> GroupSchedule::copies(const PrefixOffer& offer,
                                                         const RequestShape& request,
                                                         std::span<const std::int64_t> lendable,
                                                         const WorkPrice& price) const {
  const StepPlanner& planner = planners_[offer.group];
  if (planner.copy_time() == 0) return std::nullopt;
  std::int64_t there = 0;
  for (int other = 0; other < groups(); ++other) {
    if (other != offer.group) there = std::max(there, lendable[other]);
  }
  const std::int64_t pages = planner.usable(request, there);
  const std::int64_t here = offer.has / planner.page_tokens();
  if (pages <= here) return std::nullopt;
  const std::int64_t time = price.is_time() ? planner.copy_time() : 1;
  const std::int64_t has = pages * planner.page_tokens();
  return PrefixOffer::Copies{
      .has = has, .copying = (pages - here) * time, .own = work_behind(has, request, price)};
}

/// Another answer to a prompt goes where that is.
std::optional<PrefixChoice> GroupSchedule::choice_for(const RequestShape& request,
                                                      const CostModel* costs) const {
  if (groups() == 1) return PrefixChoice{};
  if (request.like) {
    if (const auto same = group_of(*request.like)) return PrefixChoice{.group = *same};
  }
  const auto offers = this->offers(request, costs);
  return offers.empty() ? std::nullopt : std::optional(choose_prefix(offers, *policy_));
}

bool GroupSchedule::submit(RequestShape request, const CostModel* costs) {
  const auto choice = choice_for(request, costs);
  if (!choice) return false;
  StepPlanner& planner = planners_[choice->group];
  if (groups() > 1) request.expected = planner.expected_of(request);
  request.copies = choice->way == PrefixWay::kReplicate;
  if (!planner.submit(request)) return false;
  home_[request.id] = choice->group;
  count(choice->way);
  return true;
}

void GroupSchedule::count(PrefixWay way) {
  switch (way) {
    case PrefixWay::kNone:
      return;
    case PrefixWay::kJoin:
      ++prefix_counts_.joined;
      return;
    case PrefixWay::kReplicate:
      ++prefix_counts_.replicated;
      return;
    case PrefixWay::kRecompute:
      ++prefix_counts_.recomputed;
      return;
  }
}

std::optional<RestoredPlace> GroupSchedule::restore(const RequestShape& request,
                                                    const CostModel* costs) {
  for (auto offers = this->offers(request, costs); !offers.empty();) {
    const int group = choose_prefix(offers, *policy_).group;
    if (auto place = planners_[group].restore(request)) {
      forget(place->finished);
      home_[request.id] = group;
      return place;
    }
    std::erase_if(offers, [&](const PrefixOffer& offer) { return offer.group == group; });
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
  Lender others(*this, group);
  std::optional<StepPlan> plan =
      planners_.at(group).next(costs, now, groups() > 1 ? &others : nullptr);
  if (plan) forget(plan->finished);
  return plan;
}

/// What was copied its group need not keep for that any more.
void GroupSchedule::note(int group, const TierNews& news) {
  for (const PageRef lent : planners_.at(group).note(news)) {
    planners_[group_with(lent.owner)].take_back(lent);
  }
}

int GroupSchedule::group_with(int instance) const {
  for (int group = 0; group < groups(); ++group) {
    if (std::ranges::count(planners_[group].options().group, instance) > 0) return group;
  }
  throw std::logic_error("an instance that idles has nothing");
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

#include "scheduler/planner_state.h"

#include <algorithm>
#include <map>
#include <set>

#include "scheduler/page_slots.h"
#include "scheduler/placement.h"
#include "scheduler/step_planner.h"

namespace longspan {
namespace {

using Violation = std::optional<std::string>;

std::string name(const RequestState& request) { return "request " + std::to_string(request.id); }

/// A state seen page by page.
class StateAudit {
 public:
  explicit StateAudit(const PlannerState& state) : state_(state) {}

  Violation violation() {
    Violation found = of_records();
    std::set<RequestId> known;
    for (const RequestState& request : state_.requests) {
      if (!found && !known.insert(request.id).second) found = "I4: " + name(request) + " is twice";
      if (!found && request.phase != RequestPhase::kWaiting) found = of_request(request);
    }
    for (const auto& [at, record] : records_) {
      if (!found && refs_[at] != record->refs) {
        found = "I1: " + in_words(at) + " has " + std::to_string(record->refs) + " refs, and " +
                std::to_string(refs_[at]) + " tables name it";
      }
    }
    return found;
  }

 private:
  Violation of_records() {
    std::vector<std::int64_t> in_use(state_.capacity.size());
    std::set<std::pair<int, std::int32_t>> slots;
    for (const PageRecord& record : state_.pages) {
      const PageRef at = record.at;
      if (at.owner < 0 || at.owner >= std::ssize(in_use)) return "I5: " + in_words(at);
      if (!slots.emplace(at.owner, at.slot).second) return "I3: a slot twice: " + in_words(at);
      if (record.state == PageState::kFree) return "I1: free and listed: " + in_words(at);
      records_.emplace(at, &record);
      if (++in_use[at.owner] > state_.capacity[at.owner]) {
        return "I2: owner " + std::to_string(at.owner) + " has more in use than it has";
      }
    }
    return std::nullopt;
  }

  Violation of_request(const RequestState& request) {
    const std::int64_t size = state_.page_tokens;
    const auto tail = request.tail ? request.computed / size : -1;
    const std::int64_t open = pages_for(request.computed, size) - (request.tail ? 1 : 0);
    if (open > std::ssize(request.pages)) return "I3: " + name(request) + " lacks pages";
    for (std::int64_t page = 0; page < std::ssize(request.pages); ++page) {
      const PageRef at = request.pages[page];
      if (std::ranges::count(request.group, at.owner) == 0) {
        return "I5: " + name(request) + " has a page outside its group: " + in_words(at);
      }
      if (page >= open) {  // granted, and not reached
        if (!records_.contains(at)) return stale(request, at);
        continue;
      }
      const std::int64_t filled = std::min(size, request.computed - page * size);
      if (auto bad = covers(request, at, page, filled)) return bad;
      ++refs_[at];
    }
    if (!request.tail) return std::nullopt;
    ++refs_[*request.tail];
    return covers(request, *request.tail, tail, request.computed - tail * size);
  }

  static Violation stale(const RequestState& request, PageRef at) {
    return "I3: " + name(request) + " has a stale " + in_words(at);
  }

  Violation covers(const RequestState& request, PageRef at, std::int64_t number,
                   std::int64_t filled) {
    const auto record = records_.find(at);
    if (record == records_.end()) return stale(request, at);
    if (record->second->number == number && record->second->filled >= filled) return std::nullopt;
    return "I3: " + name(request) + " has as page " + std::to_string(number) +
           " what is another or not full: " + in_words(at);
  }

  const PlannerState& state_;
  std::map<PageRef, const PageRecord*> records_;
  std::map<PageRef, int> refs_;
};

}  // namespace

Violation violation(const PlannerState& state) { return StateAudit(state).violation(); }

RequestState StepPlanner::state_of(const Running& request, RequestPhase phase) const {
  const RequestId id = request.shape.id;
  const std::span<const PageRef> pages = ledger_.pages(id);
  return {.id = id,
          .phase = phase,
          .prompt_tokens = request.shape.prompt_tokens,
          .max_new = request.shape.max_new,
          .room = request.shape.room,
          .sampled = request.sampled,
          .preempted = request.preempted,
          .computed = ledger_.computed(id),
          .group = request.group,
          .owners = request.owners,
          .pages = {pages.begin(), pages.end()},
          .tail = ledger_.shared_tail(id)};
}

PlannerState StepPlanner::state() const {
  PlannerState state{.epoch = epoch_,
                     .page_tokens = options_.page_tokens,
                     .capacity = options_.capacity,
                     .promised = ledger_.promise().promised,
                     .preemptions = preemptions_,
                     .requests = {},
                     .pages = ledger_.pages_in_use()};
  for (const RequestShape& shape : waiting_) {
    const auto before = preempted_.find(shape.id);
    state.requests.push_back({.id = shape.id,
                              .prompt_tokens = shape.prompt_tokens,
                              .max_new = shape.max_new,
                              .room = shape.room,
                              .sampled = written(shape),
                              .preempted = before == preempted_.end() ? 0 : before->second.times});
  }
  for (const Running& request : running_) {
    state.requests.push_back(state_of(
        request, request.prefilling() ? RequestPhase::kPrefilling : RequestPhase::kDecoding));
  }
  for (const Running& request : held_) {
    state.requests.push_back(state_of(request, RequestPhase::kHeld));
  }
  return state;
}

}  // namespace longspan

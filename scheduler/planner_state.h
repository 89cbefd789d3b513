// What a StepPlanner knows between two steps, in plain values: to be written down when something
// seems wrong, and to be checked again without the planner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/page_ref.h"
#include "scheduler/step_plan.h"

namespace longspan {

/// What the tier holds and has given back, of all ranks of a planner together.
struct TierCounts {
  std::int64_t places = 0;
  std::int64_t kept = 0;     // pages
  std::int64_t fetched = 0;  // pages that requests had of it, and did not compute
  std::int64_t missed = 0;   // that they were to have, and that were not there

  friend bool operator==(const TierCounts&, const TierCounts&) = default;
};

enum class RequestPhase { kWaiting, kPrefilling, kDecoding, kHeld };

struct RequestState {
  RequestId id = 0;
  RequestPhase phase = RequestPhase::kWaiting;
  std::int64_t prompt_tokens = 0;
  std::int64_t max_new = 0;
  std::int64_t room = 0;
  std::int64_t sampled = 0;    // tokens
  std::int64_t preempted = 0;  // times it went back to waiting
  // Of one that has started:
  std::int64_t fetching = 0;    // pages that its ranks are bringing back from their tiers
  std::int64_t computed = 0;    // positions
  std::vector<int> group;       // that computes its prompt, in order
  std::vector<int> owners;      // of all pages it can ever need
  std::vector<PageRef> pages;   // that it has, in order
  std::optional<PageRef> tail;  // a fork's, until it has its own

  friend bool operator==(const RequestState&, const RequestState&) = default;
};

/// A page that is not free.
struct PageRecord {
  PageRef at;
  PageState state = PageState::kFree;
  std::int32_t refs = 0;
  std::int32_t leases = 0;
  std::int32_t filled = 0;  // positions
  std::int32_t number = 0;  // which page of its sequence

  friend bool operator==(const PageRecord&, const PageRecord&) = default;
};

struct PlannerState {
  std::uint64_t epoch = 0;             // of the last plan
  std::int64_t page_tokens = 1;        // 1 at least
  std::vector<std::int64_t> capacity;  // pages, by owner
  std::int64_t promised = 0;           // pages, to those that have started
  std::int64_t preemptions = 0;        // of requests, those that have left included
  TierCounts tier;
  std::int64_t page_bytes = 0;  // of a page, where there is a tier
  std::vector<RequestState> requests;
  std::vector<PageRecord> pages;

  friend bool operator==(const PlannerState&, const PlannerState&) = default;
};

/// The first invariant of the design that a state violates, I1 to I5 as far as it tells, in words:
/// counts and references are found anew from the page tables. None before the first step.
std::optional<std::string> violation(const PlannerState& state);

}  // namespace longspan

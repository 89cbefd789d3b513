// Who computes and who keeps what comes next of a request: asked at each of its borders, which are
// before each chunk of its prompt and before each row of its answer.
//
//   prompt   | chunk, by 0 1 2 3 | chunk, by 2 | chunk, by 1 2 | row | row | row ...
//   border   ^                   ^             ^               ^     ^     ^
//   pages    |.....settled.......|-- anybody's, as far as there are places --------|
//
// A page that was granted is settled: it stays with its owner, unless it is moved. All others may
// be given to other ranks at any border, so that a request gains ranks (its new pages land there,
// old ones stay), or leaves some (it keeps those that have its pages, and nothing moves). The
// planner counts what is promised on each rank; a policy only says what it wants within that.
//
// This one changes nothing: the ranks that a request began with read its prompt, and its pages are
// where they were promised.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "scheduler/step_plan.h"

namespace longspan {

/// A request at a border, and what there is room for. Valid for the call.
struct StepBorder {
  RequestId request = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t computed = 0;    // positions; behind the prompt a row is next, else a chunk
  std::int64_t full_pages = 0;  // of those, the ones whose pages are full
  std::span<const int> ranks;   // all that may have a part in it, in order
  std::span<const int> group;   // that computed its last chunk or, at first, would be the group
  std::span<const int> owners;  // of all pages that it is promised
  std::int64_t settled = 0;     // of them, the first: granted
  std::span<const std::int64_t> places;  // by world rank: pages from `settled` on that it may keep
};

/// A page that a policy would like elsewhere.
struct WantedMove {
  std::int64_t page = 0;
  int to = 0;
};

class StepPolicy {
 public:
  StepPolicy() = default;
  StepPolicy(const StepPolicy&) = delete;
  StepPolicy& operator=(const StepPolicy&) = delete;
  virtual ~StepPolicy() = default;

  /// Full pages to be moved before the next step, or before later ones: as many at once as a budget
  /// allows (move_budget.h), in this order. Those that cannot move stay.
  virtual std::vector<WantedMove> moves(const StepBorder& /*border*/) { return {}; }
  /// The owners of all pages from `border.settled` on: no rank more often than it has places.
  /// Nothing: as they are.
  virtual std::optional<std::vector<int>> owners(const StepBorder& /*border*/) {
    return std::nullopt;
  }
  /// The ranks that compute the next chunk, in order: each once, and no fewer than the planner's
  /// least degree.
  virtual std::vector<int> group(const StepBorder& border) {
    return {border.group.begin(), border.group.end()};
  }
};

}  // namespace longspan

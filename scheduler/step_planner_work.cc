// What a StepPlanner's requests have left to do: by that a request chooses among groups.
#include <algorithm>
#include <limits>

#include "scheduler/step_planner.h"
#include "scheduler/work_price.h"

namespace longspan {

std::int64_t StepPlanner::outstanding(const WorkPrice& price) const {
  std::int64_t sum = 0;
  for (const RequestShape& request : waiting_) {
    sum += price.of({.computed = request.expected,
                     .prompt = std::max<std::int64_t>(0, to_read(request) - request.expected),
                     .answer = request.max_new - written(request)});
  }
  const auto left = [&](const Running& request) {
    return price.of({.computed = request.computed,
                     .prompt = std::max<std::int64_t>(0, request.prompt_left()),
                     .answer = request.shape.max_new - request.sampled});
  };
  for (const Running& request : running_) sum += left(request);
  for (const Forking& fork : forking_) sum += left(fork.child);
  return sum;
}

/// A fork reads nothing.
std::int64_t StepPlanner::expected_of(const RequestShape& request) const {
  if (awaits_fork(request)) return request.prompt_tokens;
  if (request.wants_nll || request.names.empty()) return 0;
  const std::int64_t most = usable(request, std::numeric_limits<std::int64_t>::max());
  const Prefix found = longest_prefix(request, nullptr, nullptr);
  std::int64_t pages = std::ssize(found.hit) + std::ssize(found.kept);
  const auto look_at = [&](const RequestShape& other) {
    const auto same = std::ranges::mismatch(request.names, other.names).in1;
    pages = std::max(pages, usable(request, same - request.names.begin()));
  };
  for (const Running& other : running_) {
    if (pages == most) break;
    if (other.prefilling() && leaves_prefix(other)) look_at(other.shape);
  }
  for (const RequestShape& other : waiting_) {
    if (pages == most) break;
    look_at(other);
  }
  return pages * options_.page_tokens;
}

}  // namespace longspan

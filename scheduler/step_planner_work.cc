// What a StepPlanner's requests have left to do: by that a request chooses among groups.
#include <algorithm>

#include "scheduler/step_planner.h"
#include "scheduler/work_price.h"

namespace longspan {

std::int64_t StepPlanner::outstanding(const WorkPrice& price) const {
  std::int64_t sum = 0;
  for (const RequestShape& request : waiting_) sum += added_by(request, price);
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
std::int64_t StepPlanner::added_by(const RequestShape& request, const WorkPrice& price) const {
  const std::int64_t found = awaits_fork(request)
                                 ? request.prompt_tokens
                                 : likely_hit(request) * options_.page_tokens;
  return price.of({.computed = found,
                   .prompt = request.prompt_tokens - found,
                   .answer = request.max_new});
}

/// Pages that it would find when its turn comes: computed already, or by those before it.
std::int64_t StepPlanner::likely_hit(const RequestShape& request) const {
  if (request.wants_nll || request.names.empty()) return 0;
  std::int64_t most = std::ssize(longest_hit(request));
  const auto consider = [&](const RequestShape& other) {
    if (other.id == request.id) return;
    const auto same = std::ranges::mismatch(request.names, other.names).in1;
    most = std::max(most, usable(request, same - request.names.begin()));
  };
  for (const RequestShape& other : waiting_) {
    if (other.id == request.id) break;  // those behind it come later
    consider(other);
  }
  for (const Running& other : running_) {
    if (other.prefilling() && leaves_prefix(other)) consider(other.shape);
  }
  return most;
}

}  // namespace longspan

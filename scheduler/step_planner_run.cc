// How many steps a plan of StepPlanner holds for. A group that only decodes is settled: which rows
// its next steps have follows from what they sample, so ranks need no plan for them (decode_run.h).
//
//   plan   |  step  step  step ... |  plan
//   pages  |  all that they need   |  of those that are promised
//
// A plan holds until a page's tokens are computed of each row, so there is a plan at most for every
// page that a request is granted. It holds for one step where there is more to say: a prompt to be
// read, pages to be copied or moved, tokens that were sampled before, a policy to be asked.
#include <algorithm>
#include <utility>

#include "scheduler/step_planner.h"

namespace longspan {

bool StepPlanner::may_run_on(const StepPlan& plan) const {
  if (policy_ || !plan.prefill.empty() || !plan.forks.empty() || !plan.moves.empty()) return false;
  if (!plan.preempted.empty() || !plan.known.empty() || !kept_tails_.empty()) return false;
  return std::ranges::none_of(running_, [&](const Running& request) {
    return request.prefilling() || ledger_.shared_tail(request.shape.id).has_value();
  });
}

/// Of rows that have all had their first position counted.
void StepPlanner::plan_run(StepPlan& plan) {
  is_counted_ = true;
  run_ = {.steps = may_run_on(plan) ? steps_of_run() : 1};
  if (!run_.goes_on()) return;
  plan.run = run_;
  plan.run.until_one_ends = !waiting_.empty();
  for (Running& request : running_) {
    const std::int64_t page = (request.computed - 1) / options_.page_tokens;
    RowOfRun row{.left = request.shape.max_new - request.sampled,
                 .stops = request.shape.stop_tokens,
                 .page_end = (page + 1) * options_.page_tokens};
    if (request.computed + ahead(request) > row.page_end) {
      row.next_master = request.owners[page + 1];
      request.join(row.next_master);
    }
    plan.run.rows.push_back(std::move(row));
  }
}

/// As many as a page has tokens, or until a row needs a page that it is not promised.
std::int64_t StepPlanner::steps_of_run() const {
  std::int64_t steps = std::min(options_.run_steps, options_.page_tokens), longest = 1;
  for (const Running& request : running_) {
    const std::int64_t left = request.shape.max_new - request.sampled;
    const std::int64_t room = request.promised * options_.page_tokens - (request.computed - 1);
    if (room < left) steps = std::min(steps, room);
    longest = std::max(longest, left);
  }
  return std::min(steps, longest);
}

/// Positions that the run may compute of a request behind that of its first step.
std::int64_t StepPlanner::ahead(const Running& request) const {
  if (!run_.goes_on()) return 0;
  return std::min(run_.steps, request.shape.max_new - request.sampled) - 1;
}

/// Those of a plan's first step were counted when it was planned.
void StepPlanner::count_step() {
  if (std::exchange(is_counted_, false) || run_.steps <= 1) return;
  --run_.steps;
  ++epoch_;
  for (Running& request : running_) ++request.computed;
}

}  // namespace longspan

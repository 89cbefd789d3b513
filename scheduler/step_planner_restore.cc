// How StepPlanner takes up a conversation that was computed before, by another job.
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

std::optional<RestoredPlace> StepPlanner::restore(const RequestShape& shape) {
  if (std::ssize(running_) + std::ssize(held_) >= options_.max_running) return std::nullopt;
  if (shape.room <= shape.prompt_tokens || !could_run(shape)) return std::nullopt;
  // First forks begin, and ranks hear of those whose parents they then forget.
  if (!forking_.empty() || !forked_.empty()) return std::nullopt;
  auto beginning = begin_behind({}, shape, unpromised_);
  if (!beginning) return std::nullopt;
  const MemoryNeed need{
      .id = shape.id, .prompt_tokens = shape.prompt_tokens, .worst_tokens = worst_tokens(shape)};
  if (ledger_.start(need).verdict != StartAnswer::Verdict::kStarted) return std::nullopt;

  const std::vector<int>& owners = beginning->owners;
  const std::int64_t pages = pages_for(shape.prompt_tokens, options_.page_tokens);
  for (std::int64_t page = 0; page < pages; ++page) {
    if (ledger_.try_grant(shape.id, std::span(owners).subspan(page, 1))) continue;
    throw std::logic_error("a rank has no page left of those that it was to have");
  }
  ledger_.forget_spilled();  // its pages are written before the next plan says what was there
  (void)ledger_.advance(shape.id, shape.prompt_tokens);
  for (const int owner : owners) --unpromised_[owner];
  const std::span<const PageRef> granted = ledger_.pages(shape.id);
  RestoredPlace place{.group = beginning->group,
                      .owners = owners,
                      .pages = {granted.begin(), granted.end()},
                      .finished = std::exchange(left_, {})};
  held_.push_back({.shape = shape,
                   .group = place.group,
                   .owners = std::move(beginning->owners),
                   .promised = std::ssize(place.owners),
                   .reads = shape.prompt_tokens,
                   .computed = shape.prompt_tokens,
                   .begun = true,
                   .computing = static_cast<int>(std::ssize(place.group))});
  return place;
}

std::int64_t StepPlanner::computed_of_held(RequestId id) const {
  for (const Running& request : held_) {
    if (request.shape.id == id) return request.computed;
  }
  throw std::logic_error("only of a request that is held it is settled what is computed");
}

}  // namespace longspan

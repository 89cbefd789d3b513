// How StepPlanner reads a prompt once for several requests.
//
//   step k       ... the prompt's last chunk; its last row samples for the parent and each fork
//   completed    the forks run; in the ledger they have the parent's pages
//   step k + 1   the plan names the forks; each decodes, behind its copy of the page that is not
//   full
//
// Between the two a fork's memory is promised already: nothing else starts until then.
#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

namespace {

/// Whether `child` can go on from where the prompt of `parent` ends. A conversation may be told
/// otherwise later, and shares nothing.
bool forks_from(const RequestShape& child, const RequestShape& parent) {
  return child.like == parent.id && child.id != parent.id && !child.wants_nll && child.room == 0 &&
         parent.room == 0 && child.prompt_tokens == parent.prompt_tokens &&
         child.max_new == parent.max_new && child.names_limit == parent.names_limit;
}

}  // namespace

/// As long as the prompt it would go on from is not read. One that is read once more, behind which
/// nobody forks, had been.
bool StepPlanner::awaits_fork(const RequestShape& request) const {
  if (!request.like) return false;
  return std::ranges::any_of(waiting_,
                             [&](const RequestShape& other) {
                               return written(other) == 0 && forks_from(request, other);
                             }) ||
         std::ranges::any_of(running_, [&](const Running& other) {
           return other.prefilling() && other.sampled == 0 && forks_from(request, other.shape);
         });
}

/// Those that fit, in order of arrival; they wait no longer.
std::vector<RequestId> StepPlanner::fork_at_the_end_of(const Running& prompt) {
  std::vector<RequestId> forks;
  const std::int64_t shared = prompt.shape.prompt_tokens / options_.page_tokens;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (!forks_from(*next, prompt.shape)) {
      ++next;
      continue;
    }
    const std::int64_t pages = first_pages(*next) - shared;
    const auto running = std::ssize(running_) + std::ssize(held_) + std::ssize(forking_);
    if (running >= options_.max_running || !fits(pages)) break;
    auto child = fork_of(prompt, *next);
    if (!child) break;
    for (std::int64_t page = shared; page < child->promised; ++page) {
      --unpromised_[child->owners[page]];
    }
    forks.push_back(next->id);
    forking_.push_back({prompt.shape.id, std::move(*child)});
    next = waiting_.erase(next);
  }
  return forks;
}

/// Whether so many pages can be promised, beside what the ledger is not told of forks until their
/// step is done.
bool StepPlanner::fits(std::int64_t pages) const {
  for (const Forking& fork : forking_) pages += fork.child.promised - fork.child.hit_pages;
  return ledger_.promise().fits(pages);
}

/// The fork, with the pages of the parent's prompt and, behind them, pages of its own. Nothing
/// where those do not fit. Its copy of the parent's last page is on the same rank.
std::optional<StepPlanner::Running> StepPlanner::fork_of(const Running& prompt,
                                                         const RequestShape& shape) const {
  const std::int64_t have = pages_for(shape.prompt_tokens, options_.page_tokens);
  std::vector<std::int64_t> free = unpromised_;
  Running child{.shape = shape,
                .group = {},
                .owners = {prompt.owners.begin(), prompt.owners.begin() + have},
                .hit_pages = shape.prompt_tokens / options_.page_tokens,
                .promised = first_pages(shape),
                .reads = shape.prompt_tokens,
                .computed = shape.prompt_tokens,
                .begun = true};
  if (have > child.hit_pages && free[child.owners.back()]-- == 0) return std::nullopt;
  auto group = group_behind(child.owners, shape, idle_places(unpromised_), free);
  if (!group) return std::nullopt;
  child.group = *std::move(group);
  child.computing = static_cast<int>(std::ssize(child.group));
  return child;
}

/// The step that sampled for them is done.
void StepPlanner::begin_forks() {
  for (Forking& fork : std::exchange(forking_, {})) {
    const RequestId child = fork.child.shape.id;
    const StartAnswer answer = ledger_.fork(fork.parent, child, first_promise(fork.child.shape));
    if (answer.verdict != StartAnswer::Verdict::kStarted) {
      throw std::logic_error("a fork's memory is gone that was there when its step was planned");
    }
    forked_.push_back({fork.parent, child, fork.child.owners});
    running_.push_back(std::move(fork.child));
  }
}

/// A page that forks of it still have to copy keeps its place on its rank, which they give back
/// when they have: their copies have places of their own there.
void StepPlanner::keep_tail(RequestId leaving) {
  for (const Running& other : running_) {
    const std::optional<PageRef> tail = ledger_.shared_tail(other.shape.id);
    if (!tail || std::ranges::count(kept_tails_, *tail) > 0) continue;
    if (std::ranges::count(ledger_.pages(leaving), *tail) == 0) continue;
    kept_tails_.push_back(*tail);
  }
}

void StepPlanner::let_go_of_tails() {
  std::erase_if(kept_tails_, [&](const PageRef& kept) {
    const bool copied = std::ranges::none_of(running_, [&](const Running& request) {
      return ledger_.shared_tail(request.shape.id) == kept;
    });
    if (copied) ++unpromised_[kept.owner];
    return copied;
  });
}

}  // namespace longspan

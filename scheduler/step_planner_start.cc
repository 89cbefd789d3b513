// How StepPlanner starts a request: behind what others have computed of it, where it fits.
#include <algorithm>
#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

/// In order of waiting: who does not fit yet is not overtaken by who does. Who waits for a prefix
/// is, by some: it is first again as soon as the prefix is there.
void StepPlanner::start_waiting(StepPlan& plan) {
  constexpr std::int64_t kMostPassed = 16;  // each costs a look at its names
  auto next = waiting_.begin();
  while (next != waiting_.end() && next - waiting_.begin() < kMostPassed &&
         std::ssize(running_) + std::ssize(held_) < options_.max_running) {
    if (!ledger_.promise().fits(worst_pages(*next, options_.page_tokens))) return;  // soon said
    std::vector<PageRef> hit = longest_hit(*next);
    if (awaits_prefix(*next, std::ssize(hit))) {
      ++next;
    } else {
      if (!start(plan, *next, std::move(hit))) return;
      next = waiting_.erase(next);
    }
  }
}

/// Where the pages of a prefix do not suit, it is computed again.
bool StepPlanner::start(StepPlan& plan, const RequestShape& shape, std::vector<PageRef> found) {
  auto beginning = begin_behind(std::move(found), shape, unpromised_);
  if (!beginning) beginning = begin_behind({}, shape, unpromised_);
  if (!beginning) return false;
  auto& [group, owners, hit] = *beginning;
  const MemoryNeed need{
      .id = shape.id, .prompt_tokens = shape.prompt_tokens, .worst_tokens = worst_tokens(shape)};
  const StartAnswer answer = ledger_.start(need, std::span(shape.names).first(hit.size()));
  if (answer.verdict != StartAnswer::Verdict::kStarted) return false;
  if (answer.hit_tokens != std::ssize(hit) * options_.page_tokens) {
    throw std::logic_error("the ledger gives other pages than were found");
  }
  for (std::int64_t page = 0; page < std::ssize(hit); ++page) {
    plan.grants.push_back({.request = shape.id, .page = page, .at = hit[page], .filled = true});
  }
  for (const int owner : owners) --unpromised_[owner];
  running_.push_back({.shape = shape,
                      .group = std::move(group),
                      .owners = std::move(owners),
                      .computed = answer.hit_tokens});
  return true;
}

bool StepPlanner::fits_alone(const RequestShape& request) const {
  const std::vector<std::int64_t>& capacity = options_.capacity;
  const std::int64_t all = std::accumulate(capacity.begin(), capacity.end(), std::int64_t{0});
  return worst_pages(request, options_.page_tokens) <= all - options_.headroom &&
         begin_behind({}, request, capacity).has_value();
}

/// The group, beginning with the rank that has most to spare: or all short prompts would be read,
/// and their answers written, by the first one.
std::vector<int> StepPlanner::group_from(const std::vector<std::int64_t>& free) const {
  std::vector<int> group = options_.group;
  std::size_t first = 0;
  for (std::size_t i = 0; i < group.size(); i += options_.turn) {
    if (free[group[i]] > free[group[first]]) first = i;
  }
  std::ranges::rotate(group, group.begin() + static_cast<std::ptrdiff_t>(first));
  return group;
}

/// The group of a request whose pages were computed by one that began with this rank, so that they
/// lie where its own chunks would put them; nothing for a rank that no group begins with.
std::optional<std::vector<int>> StepPlanner::group_behind(PageRef first) const {
  std::vector<int> group = options_.group;
  const auto at = std::ranges::find(group, first.owner);
  if (at == group.end() || (at - group.begin()) % options_.turn != 0) return std::nullopt;
  std::ranges::rotate(group, at);
  return group;
}

/// `free` counts what is promised to nobody. Nothing where that is too little.
std::optional<StepPlanner::Beginning> StepPlanner::begin_behind(
    std::vector<PageRef> hit, const RequestShape& request, std::vector<std::int64_t> free) const {
  auto group = hit.empty() ? group_from(free) : group_behind(hit.front());
  if (!group) return std::nullopt;
  Beginning beginning{.group = std::move(*group)};
  for (const PageRef page : hit) {
    if (free[page.owner]-- == 0) return std::nullopt;
    beginning.owners.push_back(page.owner);
  }
  const auto rest = place(request, beginning.group, hit, free);
  if (!rest) return std::nullopt;
  beginning.owners.insert(beginning.owners.end(), rest->begin(), rest->end());
  beginning.hit = std::move(hit);
  return beginning;
}

/// Pages behind a hit. They lie with the ranks that compute them where layout and retention allow.
std::optional<std::vector<int>> StepPlanner::place(const RequestShape& request,
                                                   std::span<const int> group,
                                                   std::span<const PageRef> hit,
                                                   const std::vector<std::int64_t>& free) const {
  const std::int64_t pages = worst_pages(request, options_.page_tokens), first = std::ssize(hit);
  if (options_.keep == Retention::kFewest && !hit.empty()) {
    const int last = hit.back().owner;
    if (free[last] >= pages - first) return std::vector(pages - first, last);
  }
  const bool folded = options_.layout == DealtBy::kFolded;
  return place_pages(options_.keep, group, pages, free,
                     folded ? SpreadOrder::kFolded : SpreadOrder::kCyclic, first);
}

/// What is computed of a request that waits.
std::vector<PageRef> StepPlanner::longest_hit(const RequestShape& request) const {
  if (request.wants_nll) return {};
  std::vector<PageRef> hit = ledger_.longest_hit(request.names, request.prompt_tokens, {});
  hit.resize(usable(request, std::ssize(hit)));
  return hit;
}

/// Of so many pages that the prompt begins with.
std::int64_t StepPlanner::usable(const RequestShape& request, std::int64_t pages) const {
  const std::int64_t most = (request.prompt_tokens - 1) / options_.page_tokens;
  return std::min(pages, most) / options_.hit_pages * options_.hit_pages;
}

/// Whether somebody is computing what is a good part of its prompt behind a hit of so many pages:
/// then that is read once, and not by both.
bool StepPlanner::awaits_prefix(const RequestShape& request, std::int64_t hit) const {
  constexpr std::int64_t kGoodPart = 4;  // a quarter
  if (request.wants_nll || request.names.empty()) return false;
  const std::int64_t left = pages_for(request.prompt_tokens, options_.page_tokens) - hit;
  return std::ranges::any_of(running_, [&](const Running& other) {
    if (!other.prefilling()) return false;
    const auto same = std::ranges::mismatch(request.names, other.shape.names).in1;
    const std::int64_t more = usable(request, same - request.names.begin()) - hit;
    return more > 0 && more * kGoodPart >= left && leaves_prefix(other);
  });
}

/// Whether others find what it computes: not from the first page on that somebody else had under
/// the same name.
bool StepPlanner::leaves_prefix(const Running& request) const {
  const RequestShape& shape = request.shape;
  const std::int64_t full =
      std::min<std::int64_t>(request.computed / options_.page_tokens, std::ssize(shape.names));
  return std::ssize(ledger_.longest_hit(shape.names, shape.prompt_tokens + 1, {})) == full;
}

}  // namespace longspan

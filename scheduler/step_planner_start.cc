// How StepPlanner starts a request: behind what others have computed of it, where it fits.
#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

/// In order of waiting: who does not fit yet is not overtaken by who does. Who waits for a prefix
/// is, by some: it is first again as soon as the prefix is there. Who is to go on from another's
/// prompt waits for that.
void StepPlanner::start_waiting(StepPlan& plan, const CostModel* costs, PageLender* others) {
  constexpr std::int64_t kMostPassed = 16;  // each costs a look at its names
  std::int64_t passed = 0;
  auto next = waiting_.begin();
  while (next != waiting_.end() && passed < kMostPassed &&
         std::ssize(running_) + std::ssize(held_) < options_.max_running) {
    if (awaits_fork(*next)) {
      ++next;
      continue;
    }
    if (!ledger_.promise().fits(least_pages(*next))) return;  // soon said
    Prefix found = longest_prefix(*next, costs, others);
    if (awaits_prefix(*next, std::ssize(found.hit))) {
      ++passed;
      ++next;
    } else {
      if (!start(plan, *next, std::move(found), others)) return;
      preempted_.erase(next->id);
      next = waiting_.erase(next);
    }
  }
}

/// Where the pages of a prefix do not suit, it is computed again.
bool StepPlanner::start(StepPlan& plan, const RequestShape& shape, Prefix found,
                        PageLender* others) {
  auto beginning = begin_behind(found, shape, unpromised_);
  if (!beginning && found.is_more_than_hit()) {
    beginning = begin_behind({.hit = longest_hit(shape), .kept = {}}, shape, unpromised_);
  }
  if (!beginning) beginning = begin_behind({}, shape, unpromised_);
  if (!beginning) return false;
  auto& [group, owners, prefix] = *beginning;
  const std::vector<PageRef>& hit = prefix.hit;
  const MemoryNeed need{
      .id = shape.id, .prompt_tokens = to_read(shape), .worst_tokens = first_promise(shape)};
  const StartAnswer answer = ledger_.start(need, std::span(shape.names).first(hit.size()));
  if (answer.verdict != StartAnswer::Verdict::kStarted) return false;
  if (answer.hit_tokens != std::ssize(hit) * options_.page_tokens) {
    throw std::logic_error("the ledger gives other pages than were found");
  }
  for (std::int64_t page = 0; page < std::ssize(hit); ++page) {
    plan.grants.push_back({.request = shape.id, .page = page, .at = hit[page], .filled = true});
  }
  plan.owners.push_back({.request = shape.id, .owners = owners});
  const int computing = static_cast<int>(std::ssize(group));
  Running& begun = running_.emplace_back(Running{.shape = shape,
                                                 .group = std::move(group),
                                                 .owners = std::move(owners),
                                                 .hit_pages = std::ssize(hit),
                                                 .promised = first_pages(shape),
                                                 .reads = to_read(shape),
                                                 .computed = answer.hit_tokens,
                                                 .computing = computing});
  for (const int place : own_places(begun)) --unpromised_[place];
  if (const auto before = preempted_.find(shape.id); before != preempted_.end()) {
    begun.preempted = before->second.times;
    begun.answer = before->second.answer;
    begun.sampled = std::ssize(begun.answer);
    if (!begun.answer.empty()) begun.last_token = begun.answer.back();
  }
  begin_fetch(plan, begun, prefix.kept);
  if (prefix.lent > 0) begin_copy(plan, begun, prefix.lent, *others);
  return true;
}

/// Pages that a waiting request takes if others have all of its prompt that they can.
std::int64_t StepPlanner::least_pages(const RequestShape& request) const {
  return first_pages(request) - (request.wants_nll ? 0 : findable_pages(request));
}

/// Pages of its prompt that others may have: with names, and before the row that samples.
std::int64_t StepPlanner::findable_pages(const RequestShape& request) const {
  return std::min<std::int64_t>(std::ssize(request.names),
                                (to_read(request) - 1) / options_.page_tokens);
}

bool StepPlanner::could_run(const RequestShape& request) const {
  return request.fits_its_room() && fits_alone(worst_pages(request, options_.page_tokens));
}

std::int64_t StepPlanner::usable_pages() const {
  const std::vector<std::int64_t>& capacity = options_.capacity;
  return std::accumulate(capacity.begin(), capacity.end(), std::int64_t{0}) - options_.headroom;
}

bool StepPlanner::fits_alone(std::int64_t pages) const {
  const std::vector<std::int64_t>& capacity = options_.capacity;
  return pages <= usable_pages() &&
         place_promised(pages, group_from(0, capacity, capacity), 0, capacity).has_value();
}

std::int64_t StepPlanner::longest_request() const {
  std::int64_t most = 0, too_much = std::max<std::int64_t>(0, usable_pages()) + 1;
  while (too_much - most > 1) {
    const std::int64_t middle = most + (too_much - most) / 2;
    (fits_alone(middle) ? most : too_much) = middle;
  }
  return most == 0 ? 0 : most * options_.page_tokens + 1;  // the last token is never computed
}

SpreadOrder StepPlanner::spread_order() const {
  return options_.layout == DealtBy::kFolded ? SpreadOrder::kFolded : SpreadOrder::kCyclic;
}

/// The rank of a group that computes page `page`.
int StepPlanner::reader_of(std::int64_t page, std::span<const int> group) const {
  return group[place_in_turn(spread_order(), page, std::ssize(group))];
}

/// The group, turned so that page `page` is computed where there is most of `room`, of equals where
/// most is free: or one rank would read all short prompts, and write their answers.
std::vector<int> StepPlanner::group_from(std::int64_t page, const std::vector<std::int64_t>& room,
                                         const std::vector<std::int64_t>& free) const {
  std::vector<int> group = options_.group, best = group;
  const auto has = [&](std::span<const int> turned) {
    const int reader = reader_of(page, turned);
    return std::pair(room[reader], free[reader]);
  };
  for (std::size_t turned = options_.turn; turned < group.size(); turned += options_.turn) {
    std::ranges::rotate(group, group.begin() + options_.turn);
    if (has(group) > has(best)) best = group;
  }
  return best;
}

/// `free` counts what is promised to nobody. Nothing where that is too little. The pages of a hit
/// lie where they lie; who computes what is behind them, and writes a short answer, depends on what
/// each rank has to do. Pages that many share are no work of their owner's: if they were, the ranks
/// without them would get all the answers. But who is kept on the fewest ranks rather stays with
/// its keys, and a page more of them outweighs a page more to do.
std::optional<StepPlanner::Beginning> StepPlanner::begin_behind(
    Prefix prefix, const RequestShape& request, std::vector<std::int64_t> free) const {
  std::vector<std::int64_t> idle = idle_places(free);
  Beginning beginning;
  const auto take = [&](int owner, std::int32_t holders) {
    if (holders == 0 && free[owner]-- == 0) return false;
    if (holders == 1) ++idle[owner];  // shared from now on
    if (options_.keep == Retention::kFewest) ++idle[owner];
    beginning.owners.push_back(owner);
    return true;
  };
  for (const PageRef page : prefix.hit) {
    if (!take(page.owner, ledger_.find(page)->refs)) return std::nullopt;
  }
  for (const PageRef place : prefix.kept) {
    if (!take(place.owner, 0)) return std::nullopt;
  }
  beginning.prefix = std::move(prefix);
  auto group = group_behind(beginning.owners, request, idle, free);
  if (!group) return std::nullopt;
  beginning.group = *std::move(group);
  return beginning;
}

/// By rank, what is `free`, and what many share there, which is no work of its owner's.
std::vector<std::int64_t> StepPlanner::idle_places(std::vector<std::int64_t> free) const {
  for (std::size_t rank = 0; rank < free.size(); ++rank) free[rank] += ledger_.shared(rank);
  return free;
}

/// Who computes behind the pages that have `owners` already, to which those of its own pages come.
/// Nothing, and nothing comes, where `free` is too little.
std::optional<std::vector<int>> StepPlanner::group_behind(
    std::vector<int>& owners, const RequestShape& request, const std::vector<std::int64_t>& idle,
    const std::vector<std::int64_t>& free) const {
  for (const auto* room : {&idle, &free}) {  // the second: where memory is short
    std::vector<int> group = group_from(std::ssize(owners), *room, free);
    const auto rest = place(request, group, owners, free);
    if (!rest) continue;
    owners.insert(owners.end(), rest->begin(), rest->end());
    return group;
  }
  return std::nullopt;
}

/// Its own pages, behind those `before`. `free` is for those that it is promised now.
std::optional<std::vector<int>> StepPlanner::place(const RequestShape& request,
                                                   std::span<const int> group,
                                                   std::span<const int> before,
                                                   const std::vector<std::int64_t>& free) const {
  auto owners = place_promised(first_pages(request), group, std::ssize(before), free);
  if (!owners) return std::nullopt;
  const std::int64_t pages = worst_pages(request, options_.page_tokens);
  if (!add_later_owners(*owners, pages, group, before)) return std::nullopt;
  return owners;
}

/// Pages from the `first` on, which is the first of its own. They lie with the ranks that compute
/// them where layout and retention allow; under a policy, which may think otherwise soon, wherever
/// there is room.
std::optional<std::vector<int>> StepPlanner::place_promised(
    std::int64_t pages, std::span<const int> group, std::int64_t first,
    const std::vector<std::int64_t>& free) const {
  if (options_.keep == Retention::kFewest && first > 0) {
    const int one = reader_of(first, group);
    if (free[one] >= pages - first) return std::vector(pages - first, one);
  }
  auto owners = place_pages(options_.keep, group, pages, free, spread_order(), first);
  if (owners || !options_.step_policy) return owners;
  return place_pages(Retention::kFewest, group, pages, free, spread_order(), first);
}

/// What is computed of a request that waits, and in memory.
std::vector<PageRef> StepPlanner::longest_hit(const RequestShape& request) const {
  if (request.wants_nll) return {};
  std::vector<PageRef> hit = ledger_.longest_hit(request.names, to_read(request), {});
  hit.resize(usable(request, std::ssize(hit)));
  return hit;
}

std::int64_t StepPlanner::usable(const RequestShape& request, std::int64_t pages) const {
  const std::int64_t most = (to_read(request) - 1) / options_.page_tokens;
  return std::min(pages, most) / options_.hit_pages * options_.hit_pages;
}

/// Whether somebody is computing what is a good part of its prompt behind a hit of so many pages:
/// then that is read once, and not by both.
bool StepPlanner::awaits_prefix(const RequestShape& request, std::int64_t hit) const {
  constexpr std::int64_t kGoodPart = 4;  // a quarter
  if (request.wants_nll || request.names.empty()) return false;
  const std::int64_t left = pages_for(to_read(request), options_.page_tokens) - hit;
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
  return std::ssize(ledger_.longest_hit(shape.names, request.reads + 1, {})) == full;
}

}  // namespace longspan

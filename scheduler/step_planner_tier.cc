// How StepPlanner lets a request begin behind pages that were evicted and are kept in a tier.
//
//   start    its memory is promised, as anybody's; for each page that the tier keeps one is granted
//            where the tier is, and the plan says what it is to hold
//   fetch    its ranks read; the request computes nothing, the others go on
//   told     all pages were there: it goes on behind them
//            one was not: it waits again. What was there is cached, and what was not is forgotten,
//            so that it begins behind less, and goes on in the end
//
// A rank that reads is in the group of every step until it has told: what it says comes with the
// step's report. Where nobody has anything else to do the step is to wait for that.
#include <algorithm>
#include <map>
#include <span>
#include <stdexcept>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {
namespace {

/// What a page takes, from what one took; 0: nobody knows.
void learn(Nanoseconds& time, Nanoseconds took) {
  constexpr Nanoseconds kMemory = 8;  // pages, about
  if (took > 0) time = time == 0 ? took : (time * (kMemory - 1) + took) / kMemory;
}

}  // namespace

StepPlanner::Prefix StepPlanner::longest_prefix(const RequestShape& request, const CostModel* costs,
                                                const PageLender* others) const {
  Prefix found{.hit = longest_hit(request), .kept = {}};
  if (request.wants_nll) return found;
  // What is in memory may end within what can only be had whole.
  std::vector<PageRef> hit = ledger_.longest_hit(request.names, to_read(request), {});
  const std::int64_t here = std::ssize(hit);
  if (const std::int64_t lent = pages_to_copy(request, here, others); lent > 0) {
    return {.hit = std::move(hit), .kept = {}, .lent = lent};
  }
  if (ledger_.tier().kept() == 0) return found;
  std::vector<PageRef> kept = ledger_.tier().chain(std::span(request.names).subspan(hit.size()));
  const std::int64_t pages = usable(request, here + std::ssize(kept));
  if (pages <= here) return found;
  kept.resize(pages - here);
  if (!fetch_pays(here, kept, costs)) return found;
  return {.hit = std::move(hit), .kept = std::move(kept)};
}

/// Ranks read at once, each its own. Where nobody knows what that takes, or what computing does, it
/// does.
bool StepPlanner::fetch_pays(std::int64_t behind, std::span<const PageRef> kept,
                             const CostModel* costs) const {
  if (!costs || fetch_time_ == 0) return true;
  std::map<int, std::int64_t> of_rank;
  std::int64_t most = 0;
  for (const PageRef place : kept) most = std::max(most, ++of_rank[place.owner]);
  const ChunkSize computed{behind * options_.page_tokens, std::ssize(kept) * options_.page_tokens};
  const PrefillCost cost = costs->prefill(rules_.degree);
  return most * fetch_time_ < to_nanoseconds(cost.seconds_in_chunks(computed, rules_.chunk_tokens));
}

/// All places are held before the first page is granted: what is evicted for that may take others.
void StepPlanner::begin_fetch(StepPlan& plan, Running& request, const std::vector<PageRef>& kept) {
  const RequestId id = request.shape.id;
  for (const PageRef place : kept) ledger_.read_tier(place);
  for (const PageRef place : kept) {
    const auto granted = ledger_.try_grant(id, std::span(&place.owner, 1));
    if (!granted) throw std::logic_error("a rank has no page left of those that it was to have");
    plan.grants.push_back({.request = id, .page = granted->number, .at = granted->page});
    plan.fetches.push_back({id, granted->number, granted->page, place});
    fetching_.push_back(plan.fetches.back());
  }
  request.fetching = std::ssize(kept);
  request.fetched_to = request.hit_pages + request.fetching;
}

std::vector<PageRef> StepPlanner::note(const TierNews& news) {
  std::vector<PageRef> given_back;
  for (const PageRef place : news.lost) (void)ledger_.lose(place);
  for (const FetchOutcome& outcome : news.fetched) {
    if (const auto lent = note_fetched(outcome)) given_back.push_back(*lent);
  }
  return given_back;
}

/// Of a request that has left, or that waits again, only the place is free. Returns the page that
/// was copied, if another group had it.
std::optional<PageRef> StepPlanner::note_fetched(const FetchOutcome& outcome) {
  const auto fetch = std::ranges::find(fetching_, outcome.at, &PageFetch::at);
  if (fetch == fetching_.end()) throw std::logic_error("a page that nobody fetches has come");
  const PageFetch done = *fetch;
  fetching_.erase(fetch);
  const auto lent = done.sent ? std::optional(done.from) : std::nullopt;
  if (!done.sent) ledger_.end_read(done.from, outcome.good);
  if (outcome.good) learn(done.sent ? copy_time_ : fetch_time_, outcome.took);
  const auto request = find_in(running_, done.request);
  if (request == running_.end() || !request->fetches()) return lent;
  const std::span<const PageRef> pages = ledger_.pages(done.request);
  if (done.page >= std::ssize(pages) || pages[done.page] != done.at) return lent;
  if (!outcome.good) {
    request->missed = true;
    request->fetched_to = std::min(request->fetched_to, done.page);
    ++missed_;
  }
  if (--request->fetching == 0) end_fetch(request);
  return lent;
}

void StepPlanner::end_fetch(std::deque<Running>::iterator request) {
  (request->copies ? copied_ : fetched_) += request->fetched_to - request->hit_pages;
  request->computed = request->fetched_to * options_.page_tokens;
  note_computed(*request);
  if (request->missed) wait_again(request);
}

TierCounts StepPlanner::tier_counts() const {
  TierCounts counts{.kept = ledger_.tier().kept(), .fetched = fetched_, .missed = missed_};
  for (const std::int64_t places : options_.tier) counts.places += places;
  return counts;
}

}  // namespace longspan

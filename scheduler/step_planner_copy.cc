// How StepPlanner lets a request begin behind pages that another group has, of which its ranks get
// copies (prefix_choice.h says when).
//
//   lender     lends the pages: they stay where they are, cached or in use, and each has a place
//              of its own on its rank until it is given back
//   borrower   the request starts with all it is promised; its pages lie where the layout wants
//              them, are granted, and the plan says what is sent to them
//   told       all have come: they are cached here too from now on, and it goes on behind them
//
// What comes is written to the pages themselves, so a request does not end, or go back to waiting,
// before all of it has. All else is as of pages that come from a tier (step_planner_tier.cc).
#include <algorithm>
#include <map>
#include <span>
#include <stdexcept>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {

/// Behind so many that are here. More than a tier has too: what ranks have in memory comes sooner.
std::int64_t StepPlanner::pages_to_copy(const RequestShape& request, std::int64_t behind,
                                        const PageLender* others) const {
  if (!request.copies || !others) return 0;
  const std::int64_t most = findable_pages(request);
  if (most <= behind) return 0;
  const std::int64_t there = others->lendable(std::span(request.names).first(most), behind);
  return std::max<std::int64_t>(0, usable(request, there) - behind);
}

void StepPlanner::begin_copy(StepPlan& plan, Running& request, std::int64_t pages,
                             PageLender& others) {
  const RequestId id = request.shape.id;
  const std::int64_t first = request.hit_pages;
  const std::span<const PageHash> names = std::span(request.shape.names).first(first + pages);
  for (const PageRef from : others.lend(names, first)) {
    const std::int64_t page = std::ssize(ledger_.pages(id));
    const auto granted = ledger_.try_grant(id, std::span(request.owners).subspan(page, 1));
    if (!granted) throw std::logic_error("a rank has no page left of those that it was to have");
    plan.grants.push_back({.request = id, .page = page, .at = granted->page});
    plan.fetches.push_back({id, page, granted->page, from, true});
    fetching_.push_back(plan.fetches.back());
  }
  request.copies = true;
  request.fetching = pages;
  request.fetched_to = first + pages;
}

/// Whether pages are on their way to it.
bool StepPlanner::copies(RequestId id) const {
  return std::ranges::any_of(
      fetching_, [id](const PageFetch& fetch) { return fetch.sent && fetch.request == id; });
}

std::int64_t StepPlanner::lendable(std::span<const PageHash> names, std::int64_t first) const {
  const std::vector<PageRef> pages =
      ledger_.longest_hit(names, std::ssize(names) * options_.page_tokens + 1, {});
  std::vector<std::int64_t> room = unpromised_;
  std::int64_t pinned = 0;
  for (std::int64_t page = first; page < std::ssize(pages); ++page) {
    const Page& at = *ledger_.find(pages[page]);
    pinned += at.state == PageState::kCached && at.leases == 0 ? 1 : 0;
    const bool stays = room[pages[page].owner]-- > 0 && fits(pinned);
    if (!stays) return page;
  }
  return std::ssize(pages);
}

std::vector<PageRef> StepPlanner::lend(std::span<const PageHash> names, std::int64_t first) {
  std::vector<PageRef> pages =
      ledger_.longest_hit(names, std::ssize(names) * options_.page_tokens + 1, {});
  if (std::ssize(pages) < std::ssize(names)) throw std::logic_error("what is lent is there");
  pages.erase(pages.begin(), pages.begin() + first);
  for (const PageRef page : pages) {
    const auto lease = ledger_.try_lease(page);
    if (!lease || unpromised_[page.owner] == 0) throw std::logic_error("what is lent can stay");
    --unpromised_[page.owner];
    lent_.emplace(page, *lease);
  }
  return pages;
}

void StepPlanner::take_back(PageRef page) {
  const auto lent = lent_.find(page);
  if (lent == lent_.end()) throw std::logic_error("a page that nobody was lent is given back");
  (void)ledger_.end_lease(lent->second);
  ++unpromised_[page.owner];
  lent_.erase(lent);
}

}  // namespace longspan

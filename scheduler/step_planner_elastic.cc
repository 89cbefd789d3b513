// How what was decided of a request changes while it runs: who computes it, who owns the pages that
// nobody has been granted yet, and where full pages lie.
//
// Each owner of a page, granted or not, has a place counted on its rank (unpromised_ is what is
// left of its capacity), so that the page can be had there when it is opened; a page that several
// requests have has one, which the last of them gives back. Who becomes an owner
// takes a place, and who is none any more gives it back in the same breath: a granted page's place
// goes when its contents have left.
#include <algorithm>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {
namespace {

/// Throws where `group` is not to compute a chunk.
void expect_group(const std::vector<int>& group, const PlannerOptions& options) {
  const std::size_t least = options.least_degree > 0
                                ? static_cast<std::size_t>(options.least_degree)
                                : options.group.size();
  if (group.size() < least) throw std::logic_error("a policy takes too few ranks");
  for (const int rank : group) {
    const bool is_known = std::ranges::count(options.group, rank) > 0;
    if (is_known && std::ranges::count(group, rank) == 1) continue;
    throw std::logic_error("a policy takes ranks of the planner's group, each once");
  }
}

}  // namespace

StepBorder StepPlanner::border_of(const Running& request,
                                  std::span<const std::int64_t> places) const {
  const RequestId id = request.shape.id;
  return {.request = id,
          .prompt_tokens = request.shape.prompt_tokens,
          .computed = request.computed,
          .full_pages = request.begun ? request.computed / options_.page_tokens : 0,
          .ranks = options_.group,
          .group = std::span(request.group).first(request.computing),
          .owners = std::span(request.owners).first(request.promised),
          .settled = settled_pages(id),
          .places = places};
}

/// Pages that have an owner for good: granted, or copied by the rank that has what is copied.
std::int64_t StepPlanner::settled_pages(RequestId id) const {
  return std::ssize(ledger_.pages(id)) + (ledger_.shared_tail(id) ? 1 : 0);
}

/// By rank, what it may have of its pages that are promised and not settled.
std::vector<std::int64_t> StepPlanner::places_of(const Running& request) const {
  std::vector<std::int64_t> places = unpromised_;
  for (std::int64_t page = settled_pages(request.shape.id); page < request.promised; ++page) {
    ++places[request.owners[page]];
  }
  return places;
}

void StepPlanner::redraw_owners(StepPlan& plan, Running& request) {
  if (!policy_) return;
  std::vector<std::int64_t> places = places_of(request);
  const StepBorder border = border_of(request, places);
  const std::optional<std::vector<int>> owners = policy_->owners(border);
  if (!owners) return;
  const std::int64_t first = border.settled;
  if (std::ssize(*owners) != request.promised - first) {
    throw std::logic_error("a policy names an owner for each page that is promised, not granted");
  }
  for (const int owner : *owners) {
    if (std::ranges::count(options_.group, owner) == 0 || places[owner]-- == 0) {
      throw std::logic_error("a policy gives pages to ranks that have places for them");
    }
  }
  unpromised_ = std::move(places);
  std::ranges::copy(*owners, request.owners.begin() + first);
  plan.owners.push_back(
      {request.shape.id, first, {request.owners.begin() + first, request.owners.end()}});
  ++elastic_counts_.redraws;
}

/// Before a chunk that ends at `upto`: those who compute it, then those who only have pages.
void StepPlanner::regroup(Running& request, std::int64_t upto) {
  if (policy_) {
    std::vector<int> group = policy_->group(border_of(request, {}));
    expect_group(group, options_);
    const auto before = std::span(request.group).first(request.computing);
    elastic_counts_.regroups += request.begun && !std::ranges::equal(before, group);
    request.computing = static_cast<int>(std::ssize(group));
    request.group = std::move(group);
  }
  const std::int64_t open = std::max<std::int64_t>(std::ssize(ledger_.pages(request.shape.id)),
                                                   pages_for(upto, options_.page_tokens));
  for (std::int64_t page = 0; page < open; ++page) {
    if (request.group.size() == options_.group.size()) break;
    request.join(request.owners[page]);
  }
}

/// A later wish for a page is the one that counts; its place in the line is that of the first.
void StepPlanner::note_wishes() {
  if (!policy_ || options_.headroom == 0) return;
  std::erase_if(wishes_,
                [&](const Wish& w) { return find_in(running_, w.request) == running_.end(); });
  for (const Running& request : running_) {
    const RequestId id = request.shape.id;
    for (const WantedMove& wanted : policy_->moves(border_of(request, {}))) {
      const auto earlier = std::ranges::find_if(wishes_, [&](const Wish& wish) {
        return wish.request == id && wish.move.page == wanted.page;
      });
      if (earlier == wishes_.end()) {
        wishes_.push_back({id, wanted});
      } else {
        earlier->move = wanted;
      }
    }
  }
}

/// Those for which there is neither time nor headroom at this border wait for a later one; those
/// that cannot move for another reason stay.
void StepPlanner::make_wanted_moves(Nanoseconds now) {
  note_wishes();
  move_budget_.come_to(now);
  while (!wishes_.empty() && ledger_.counts().of_moves < options_.headroom) {
    if (!move_budget_.allows_one()) return;
    const auto [request, wanted] = wishes_.front();
    if (move(request, wanted.page, wanted.to)) move_budget_.take_one();
    wishes_.pop_front();
  }
}

bool StepPlanner::move(RequestId id, std::int64_t page, int to) {
  const auto request = find_in(running_, id);
  if (request == running_.end() || !request->begun || page < 0) return false;
  if ((page + 1) * options_.page_tokens > request->computed) return false;
  if (std::ranges::count(options_.group, to) == 0 || unpromised_[to] == 0) return false;
  const PageRef from = ledger_.pages(id)[page];
  if (ledger_.find(from)->refs > 1) return false;  // others would have to hear of it
  const auto move = ledger_.try_move(from, to, std::numeric_limits<std::int64_t>::max());
  if (!move) return false;
  --unpromised_[to];
  request->owners[page] = to;
  request->join(to);
  moving_.push_back({id, page, *move});
  return true;
}

/// Ranks do as a plan says before they do its step, so a move is over when it is told.
void StepPlanner::commit_moves() {
  for (const auto& [request, page, move] : std::exchange(moving_, {})) {
    if (!ledger_.prepared(move.id, move.to) || !ledger_.commit_move(move.id)) {
      throw std::logic_error("a move that was begun since the last step is over");
    }
    moved_.push_back({request, page, move.to});
    leaving_.push_back(move.from);
    ++elastic_counts_.moves;
  }
}

}  // namespace longspan

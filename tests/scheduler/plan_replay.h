// Plans carried out as a cluster would, without computing anything: what a planner says must be
// possible, rank by rank and page by page.
#pragma once

#include <gmock/gmock.h>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"
#include "scheduler/step_size.h"

namespace longspan::test {

/// Places of each rank that are somebody's, counted from page tables: one for a page, however many
/// have it, one for each that is promised and not granted, and one for each time that it was lent.
inline std::vector<std::int64_t> places_taken(const StepPlanner& planner) {
  constexpr std::int64_t kAll = std::int64_t{1} << 40;
  const PlannerState state = planner.state();
  std::vector<std::int64_t> taken(state.capacity.size());
  std::set<PageRef> pages;
  for (const RequestState& request : state.requests) {
    if (request.phase == RequestPhase::kWaiting) continue;
    pages.insert(request.pages.begin(), request.pages.end());
    if (request.tail) pages.insert(*request.tail);
    const std::int64_t missing = planner.ledger().pages_missing(request.id, kAll);
    const auto first = request.owners.begin() + std::ssize(request.pages);
    for (auto owner = first; owner != first + missing; ++owner) ++taken.at(*owner);
  }
  for (const PageRef page : pages) ++taken.at(page.owner);
  for (const PageRecord& page : state.pages) taken.at(page.at.owner) += page.leases;
  return taken;
}

/// That no place is lost, or was given back twice. `plan`: of next(), just now; with it forks and
/// moves may have places that no table shows. None: of completed(), which may leave such for
/// copies.
inline void expect_all_places(const StepPlanner& planner, const StepPlan* plan) {
  const auto forks = [](const PrefillChunk& chunk) { return !chunk.forks.empty(); };
  const bool shows_all = plan && plan->moves.empty() && plan->preempted.empty() &&
                         std::ranges::none_of(plan->prefill, forks);
  const std::vector<std::int64_t> taken = places_taken(planner);
  for (std::size_t rank = 0; rank < taken.size(); ++rank) {
    const std::int64_t left = planner.unpromised()[rank];
    const std::int64_t capacity = planner.options().capacity[rank];
    EXPECT_GE(left, 0);
    EXPECT_LE(left + taken[rank], capacity) << "rank " << rank;
    if (shows_all) {
      EXPECT_EQ(left + taken[rank], capacity) << "rank " << rank;
    }
  }
}

/// Replays plans as a cluster would: pages owned, positions computed.
class Replay {
 public:
  Replay(const PlannerOptions& options, int seed) : options_(options), random_(seed) {}

  std::vector<SampledToken> apply(const StepPlan& plan) {
    EXPECT_EQ(plan.epoch, ++epoch_);
    EXPECT_THAT(plan.group, testing::IsSubsetOf(options_.group));
    for (const ForkedRequest& fork : plan.forks) share(fork);
    for (RequestId id : plan.preempted) go_back(id);
    for (RequestId id : plan.finished) forget(id);
    for (const SpilledPage& page : plan.spills) spill(page);
    for (const PageOwners& pages : plan.owners) own(pages);
    std::vector<int> left;  // by pages that moved, with the step
    for (const PageMove& move : plan.moves) left.push_back(carry_out(move));
    for (const GrantedPage& page : plan.grants) place(plan, page);
    for (const PageFetch& fetch : plan.fetches) begin(plan, fetch);
    for (const PageFetch& fetch : fetching_) {
      EXPECT_THAT(plan.group, testing::Contains(fetch.at.owner)) << "it has to tell";
    }
    std::vector<SampledToken> sampled;
    auto rows = std::ssize(plan.decode);
    for (const PrefillChunk& chunk : plan.prefill) {
      EXPECT_EQ(chunk.first, computed_[chunk.request]);
      EXPECT_FALSE(fetches(chunk.request));
      EXPECT_EQ(chunk.samples, ends_unread_prompt(chunk));
      rows += most_rank_rows(chunk.count, 1, least_degree(), options_.page_tokens);
      if (options_.cuts_are_fixed) expect_fixed_cut(chunk);
      advance(chunk.request, chunk.count);
      expect_group(plan, chunk);
      if (chunk.samples) sampled.push_back(sample(chunk.request));
      for (const RequestId fork : chunk.forks) {
        computed_[fork] = computed_[chunk.request];
        sampled.push_back(sample(fork));
      }
    }
    for (const DecodeStep& row : plan.decode) {
      EXPECT_EQ(row.position, computed_[row.request]);
      EXPECT_EQ(owners_[row.request].at(row.position / options_.page_tokens), row.master);
      advance(row.request, 1);
      for (std::int64_t page = 0; page * options_.page_tokens <= row.position; ++page) {
        EXPECT_EQ(pages_of(row.request).at(page), owners_[row.request][page]);
        EXPECT_THAT(plan.group, testing::Contains(owners_[row.request][page]));
      }
      sampled.push_back(sample_behind(plan, row));
    }
    EXPECT_LE(rows, options_.step_rows);
    expect_no_rank_over_committed(left);
    return sampled;
  }

  /// What the step's ranks say: some of what they read has come or is damaged, and some of what was
  /// to be written could not be.
  TierNews news(const StepPlan& plan) {
    TierNews news;
    for (const SpilledPage& page : plan.spills) {
      const auto reads = [&](const PageFetch& fetch) { return fetch.from == page.to; };
      if (random_() % 8 > 0 || std::ranges::any_of(fetching_, reads)) continue;
      news.lost.push_back(page.to);
      const auto place = tier_.find({page.to.owner, page.to.slot});
      if (place->second.generation == page.to.generation) tier_.erase(place);
    }
    std::vector<PageFetch> later;
    for (const PageFetch& fetch : fetching_) {
      if (random_() % 2) {
        later.push_back(fetch);
        continue;
      }
      const bool good = fetch.sent || random_() % 8 > 0;
      if (fetch.sent) expect_sent(fetch);
      news.fetched.push_back({.at = fetch.at, .good = good, .took = 1 + int(random_() % 1000)});
      if (!good) tier_.erase({fetch.from.owner, fetch.from.slot});
      sent_ += fetch.sent;
      if (is_there(fetch) && !good) {
        const auto first = missed_.emplace(fetch.request, fetch.page).first;
        first->second = std::min(first->second, fetch.page);
      }
    }
    std::vector<PageFetch> told = std::exchange(fetching_, std::move(later));
    for (const PageFetch& fetch : told) end(fetch);
    return news;
  }

  /// Whether something that the request was to have of a tier was not there.
  bool has_missed(RequestId id) const { return missed_.contains(id); }
  std::int64_t spilled() const { return spilled_; }
  /// Pages that came from other groups.
  std::int64_t sent() const { return sent_; }
  /// Whether all of a page of that name has been written there, and nothing since.
  bool holds(PageRef at, const PageHash& name) const {
    const auto slot = in_slot_.find({at.owner, at.slot});
    if (slot == in_slot_.end() || slot->second.generation != at.generation) return false;
    const auto& [writer, page] = std::pair(slot->second.writer, slot->second.page);
    return name_of(writer, page) == name &&
           most_computed_.at(writer) >= (page + 1) * options_.page_tokens;
  }
  std::int64_t fetched() const { return fetched_; }

  const std::map<RequestId, std::int64_t>& computed() const { return computed_; }
  std::int64_t hits() const { return hits_; }
  std::int64_t forks() const { return forks_; }
  std::int64_t moves() const { return moves_; }
  std::int64_t preempted() const { return preempted_; }
  /// What each request has sampled, each token once.
  const std::map<RequestId, std::vector<std::int32_t>>& answers() const { return answers_; }

  std::function<std::int64_t(RequestId)> prompt_of;
  /// By which a page of a request is told from others; none for what nobody shares.
  std::function<PageHash(RequestId, std::int64_t page)> name_of;
  /// Whether another group's rank holds what is there by that name: Replay::holds() of that.
  std::function<bool(PageRef, const PageHash&)> other_holds;

 private:
  struct SlotContents {
    std::set<RequestId> requests;
    RequestId writer = 0;
    std::int64_t page = 0;
    std::uint32_t generation = 0;
  };

  /// As the owner does: nobody has the page any more, and it is as it was.
  void spill(const SpilledPage& page) {
    const SlotContents& slot = in_slot_[{page.from.owner, page.from.slot}];
    EXPECT_EQ(page.from.owner, page.to.owner);
    EXPECT_LT(page.to.slot, options_.tier.at(page.to.owner));
    EXPECT_TRUE(slot.requests.empty());
    EXPECT_EQ(slot.generation, page.from.generation);
    EXPECT_GE(most_computed_[slot.writer], (slot.page + 1) * options_.page_tokens);
    tier_[{page.to.owner, page.to.slot}] = {
        .writer = slot.writer, .page = slot.page, .generation = page.to.generation};
    ++spilled_;
  }
  void begin(const StepPlan& plan, const PageFetch& fetch) {
    EXPECT_THAT(plan.group, testing::Contains(fetch.at.owner));
    EXPECT_TRUE(is_there(fetch));
    fetching_.push_back(fetch);
    fetched_to_[fetch.request] = fetch.page + 1;
    if (fetch.sent) return expect_sent(fetch);
    EXPECT_EQ(fetch.at.owner, fetch.from.owner);
    const auto place = tier_.find({fetch.from.owner, fetch.from.slot});
    ASSERT_NE(place, tier_.end());
    EXPECT_EQ(place->second.generation, fetch.from.generation);
    EXPECT_EQ(place->second.page, fetch.page);
    EXPECT_EQ(name_of(place->second.writer, fetch.page), name_of(fetch.request, fetch.page));
  }
  /// From when it begins until it has come.
  void expect_sent(const PageFetch& fetch) const {
    EXPECT_TRUE(is_there(fetch)) << "it is written where it comes to be";
    EXPECT_THAT(options_.group, testing::Not(testing::Contains(fetch.from.owner)));
    EXPECT_TRUE(other_holds(fetch.from, name_of(fetch.request, fetch.page)));
  }
  /// Whether the page that is to be filled is still the request's.
  bool is_there(const PageFetch& fetch) const {
    const auto slot = in_slot_.find({fetch.at.owner, fetch.at.slot});
    return slot != in_slot_.end() && slot->second.generation == fetch.at.generation &&
           slot->second.requests.contains(fetch.request);
  }
  bool fetches(RequestId id) const {
    return std::ranges::any_of(fetching_,
                               [&](const PageFetch& f) { return f.request == id && is_there(f); });
  }
  /// The last page of a request that comes makes all of them its own, up to the first that missed.
  void end(const PageFetch& fetch) {
    const RequestId id = fetch.request;
    if (!is_there(fetch) || fetches(id)) return;
    const auto missed = missed_.find(id);
    const std::int64_t pages = missed == missed_.end() ? fetched_to_[id] : missed->second;
    const std::int64_t before = computed_[id];
    computed_[id] = std::max(before, pages * options_.page_tokens);
    most_computed_[id] = std::max(most_computed_[id], computed_[id]);
    fetched_ += (computed_[id] - before) / options_.page_tokens;
  }

  /// Behind what it had of others, every chunk but the one that ends it is as long as the first.
  void expect_fixed_cut(const PrefillChunk& chunk) {
    const auto whole = whole_chunk_.emplace(chunk.request, chunk.count).first;
    const bool ends = chunk.first + chunk.count >= prompt_of(chunk.request);
    EXPECT_TRUE(chunk.count == whole->second || (ends && chunk.count < whole->second));
  }

  /// Nobody samples behind a prompt twice.
  bool ends_unread_prompt(const PrefillChunk& chunk) {
    const std::int64_t end = chunk.first + chunk.count;
    return answers_[chunk.request].empty() && end == prompt_of(chunk.request);
  }

  SampledToken sample(RequestId id) {
    const auto token = static_cast<std::int32_t>(random_() % 20);
    answers_[id].push_back(token);
    return {id, token};
  }

  /// A row computes what was sampled, and samples the next one, or what was sampled there before.
  SampledToken sample_behind(const StepPlan& plan, const DecodeStep& row) {
    const std::int64_t index = row.position - prompt_of(row.request);
    EXPECT_EQ(row.token, answers_[row.request].at(index));
    const bool known = index + 1 < std::ssize(answers_[row.request]);
    EXPECT_EQ(std::ranges::count(plan.known, row.request), known);
    return known ? SampledToken{row.request, answers_[row.request][index + 1]}
                 : sample(row.request);
  }

  std::int64_t least_degree() const {
    return options_.least_degree > 0 ? options_.least_degree : std::ssize(options_.group);
  }
  /// Different ranks, of the step, that have all of its pages.
  void expect_group(const StepPlan& plan, const PrefillChunk& chunk) {
    EXPECT_GE(chunk.computing(), least_degree());
    EXPECT_EQ(std::set(chunk.group.begin(), chunk.group.end()).size(), chunk.group.size());
    EXPECT_THAT(plan.group, testing::IsSupersetOf(chunk.group));
    for (const auto& [page, owner] : pages_of(chunk.request)) {
      EXPECT_EQ(owners_[chunk.request].at(page), owner);
      EXPECT_THAT(chunk.group, testing::Contains(owner));
    }
  }
  /// As all ranks do. Nobody has any of the pages that get other owners.
  void own(const PageOwners& pages) {
    std::vector<int>& owners = owners_[pages.request];
    ASSERT_LE(pages.first, std::ssize(owners));
    EXPECT_TRUE(pages.first == 0 || std::ssize(owners) == pages.first + std::ssize(pages.owners));
    EXPECT_LE(std::ssize(pages_of(pages.request)), pages.first);
    owners.resize(pages.first);
    for (const int owner : pages.owners) {
      EXPECT_THAT(options_.group, testing::Contains(owner));
      owners.push_back(owner);
    }
  }
  /// Returns the rank that it leaves, where it needs its place until the step is done.
  int carry_out(const PageMove& move) {
    const int from = std::exchange(owners_[move.request].at(move.page), move.to.owner);
    EXPECT_NE(from, move.to.owner);
    EXPECT_GE(computed_[move.request], (move.page + 1) * options_.page_tokens) << "not full";
    for (auto& [slot, page] : in_slot_) {
      if (slot.first != from || page.page != move.page || !page.requests.contains(move.request)) {
        continue;
      }
      EXPECT_EQ(page.requests.size(), 1u) << "others would have to hear of it";
      SlotContents moved = std::exchange(page, SlotContents{});
      moved.generation = move.to.generation;
      SlotContents& to = in_slot_[{move.to.owner, move.to.slot}];
      EXPECT_TRUE(to.requests.empty());
      to = std::move(moved);
      ++moves_;
      return from;
    }
    ADD_FAILURE() << "page " << move.page << " was not there";
    return from;
  }
  void go_back(RequestId id) {
    forget(id);
    computed_[id] = 0;
    whole_chunk_.erase(id);
    preempted_ += missed_.erase(id) == 0;
  }
  void forget(RequestId id) {
    owners_.erase(id);
    for (auto& [slot, page] : in_slot_) page.requests.erase(id);
  }
  void promise(RequestId id, const std::vector<int>& owners) { owners_[id] = owners; }
  /// As all ranks do: the full pages are the fork's too.
  void share(const ForkedRequest& fork) {
    promise(fork.to, fork.owners);
    EXPECT_EQ(computed_[fork.to], computed_[fork.from]);
    const std::int64_t full = computed_[fork.to] / options_.page_tokens;
    for (auto& [slot, page] : in_slot_) {
      if (page.requests.contains(fork.from) && page.page < full) page.requests.insert(fork.to);
    }
    if (computed_[fork.to] % options_.page_tokens > 0) tail_on_[fork.to] = fork.owners.at(full);
    ++forks_;
  }
  /// As the owner does: a slot of its own, that nobody uses or that holds what it should.
  void place(const StepPlan& plan, const GrantedPage& page) {
    EXPECT_LT(page.at.slot, options_.capacity[page.at.owner]);
    EXPECT_THAT(plan.group, testing::Contains(page.at.owner));
    if (page.copied > 0) {
      EXPECT_EQ(page.at.owner, tail_on_.at(page.request));
    }
    SlotContents& slot = in_slot_[{page.at.owner, page.at.slot}];
    if (page.filled) {
      EXPECT_EQ(slot.generation, page.at.generation);
      EXPECT_EQ(slot.page, page.page);
      EXPECT_EQ(name_of(slot.writer, page.page), name_of(page.request, page.page));
      EXPECT_GE(most_computed_[slot.writer], (page.page + 1) * options_.page_tokens);
      computed_[page.request] += options_.page_tokens;
      ++hits_;
    } else {
      EXPECT_TRUE(slot.requests.empty());
      slot = {.writer = page.request, .page = page.page, .generation = page.at.generation};
    }
    EXPECT_TRUE(slot.requests.insert(page.request).second);
  }
  /// Owners by page, of the pages that were granted.
  std::map<std::int64_t, int> pages_of(RequestId id) const {
    std::map<std::int64_t, int> owners;
    for (const auto& [slot, page] : in_slot_) {
      if (!page.requests.contains(id)) continue;
      EXPECT_TRUE(owners.emplace(page.page, slot.first).second);
    }
    return owners;
  }
  /// Pages are told when they are written: those of no rank are ever more than it has. `left`: by
  /// ranks of pages that moved, and lie there until the step is done.
  void expect_no_rank_over_committed(const std::vector<int>& left) const {
    std::map<int, std::int64_t> used;
    for (const int owner : left) ++used[owner];
    for (const auto& [slot, page] : in_slot_) used[slot.first] += !page.requests.empty();
    for (const auto& [owner, pages] : used) EXPECT_LE(pages, options_.capacity[owner]);
  }
  void advance(RequestId id, std::int64_t count) {
    computed_[id] += count;
    most_computed_[id] = std::max(most_computed_[id], computed_[id]);
    const std::int64_t pages = std::ssize(pages_of(id));
    EXPECT_GE(pages, pages_for(computed_[id], options_.page_tokens));
    EXPECT_LE(pages, pages_for(computed_[id] + options_.run_steps - 1, options_.page_tokens));
    EXPECT_GE(std::ssize(owners_[id]) * options_.page_tokens, computed_[id]);
  }

  PlannerOptions options_;
  std::mt19937 random_;
  std::uint64_t epoch_ = 0;
  std::map<RequestId, std::vector<int>> owners_;
  std::map<RequestId, std::vector<std::int32_t>> answers_;
  std::map<RequestId, std::int64_t> computed_;
  std::map<RequestId, std::int64_t> most_computed_;  // before it went back to waiting too
  std::map<std::pair<int, std::int32_t>, SlotContents> in_slot_;  // by owner and slot
  std::map<RequestId, std::int64_t> whole_chunk_;
  std::map<RequestId, int> tail_on_;                           // the rank that makes a fork's copy
  std::map<std::pair<int, std::int32_t>, SlotContents> tier_;  // by owner and slot
  std::vector<PageFetch> fetching_;
  std::map<RequestId, std::int64_t> fetched_to_;  // pages
  std::map<RequestId, std::int64_t> missed_;      // the first page that was not there
  std::int64_t spilled_ = 0;
  std::int64_t sent_ = 0;
  std::int64_t fetched_ = 0;
  std::int64_t hits_ = 0;
  std::int64_t forks_ = 0;
  std::int64_t preempted_ = 0;
  std::int64_t moves_ = 0;
};

}  // namespace longspan::test

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
    for (const PageOwners& pages : plan.owners) own(pages);
    std::vector<int> left;  // by pages that moved, with the step
    for (const PageMove& move : plan.moves) left.push_back(carry_out(move));
    for (const GrantedPage& page : plan.grants) place(plan, page);
    std::vector<SampledToken> sampled;
    auto rows = std::ssize(plan.decode);
    for (const PrefillChunk& chunk : plan.prefill) {
      EXPECT_EQ(chunk.first, computed_[chunk.request]);
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

 private:
  struct SlotContents {
    std::set<RequestId> requests;
    RequestId writer = 0;
    std::int64_t page = 0;
    std::uint32_t generation = 0;
  };

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
    ++preempted_;
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
  std::map<RequestId, int> tail_on_;  // the rank that makes a fork's copy
  std::int64_t hits_ = 0;
  std::int64_t forks_ = 0;
  std::int64_t preempted_ = 0;
  std::int64_t moves_ = 0;
};

}  // namespace longspan::test

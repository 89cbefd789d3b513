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
  Replay(const PlannerOptions& options, int seed) : options_(options), random_(seed) {
    used_.resize(options.capacity.size());
  }

  std::vector<SampledToken> apply(const StepPlan& plan) {
    EXPECT_EQ(plan.epoch, ++epoch_);
    for (const ForkedRequest& fork : plan.forks) share(fork);
    for (RequestId id : plan.finished) {
      for (int owner : owners_[id]) --used_[owner];
      owners_.erase(id);
      for (auto& [slot, page] : in_slot_) page.requests.erase(id);
    }
    for (const PageOwners& pages : plan.owners) own(pages);
    std::vector<int> left;  // by pages that moved, with the step
    for (const PageMove& move : plan.moves) left.push_back(carry_out(move));
    for (const GrantedPage& page : plan.grants) place(plan, page);
    std::vector<SampledToken> sampled;
    auto rows = std::ssize(plan.decode);
    for (const PrefillChunk& chunk : plan.prefill) {
      EXPECT_EQ(chunk.first, computed_[chunk.request]);
      rows += most_rank_rows(chunk.count, 1, least_degree(), options_.page_tokens);
      if (options_.cuts_are_fixed) expect_fixed_cut(chunk);
      advance(chunk.request, chunk.count);
      expect_group(plan, chunk);
      if (chunk.samples) sampled.push_back({chunk.request, next_token()});
      for (const RequestId fork : chunk.forks) {
        computed_[fork] = computed_[chunk.request];
        sampled.push_back({fork, next_token()});
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
      sampled.push_back({row.request, next_token()});
    }
    EXPECT_LE(rows, options_.step_rows);
    for (const int rank : left) --used_[rank];
    return sampled;
  }

  const std::map<RequestId, std::int64_t>& computed() const { return computed_; }
  std::int64_t hits() const { return hits_; }
  std::int64_t forks() const { return forks_; }
  std::int64_t moves() const { return moves_; }

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
    EXPECT_TRUE(chunk.count == whole->second || (chunk.samples && chunk.count < whole->second));
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
    for (std::int64_t page = pages.first; page < std::ssize(owners); ++page) --used_[owners[page]];
    owners.resize(pages.first);
    for (const int owner : pages.owners) {
      EXPECT_THAT(options_.group, testing::Contains(owner));
      EXPECT_LE(++used_[owner], options_.capacity[owner]);
      owners.push_back(owner);
    }
  }
  /// Returns the rank that it leaves, where it needs its place until the step is done.
  int carry_out(const PageMove& move) {
    const int from = std::exchange(owners_[move.request].at(move.page), move.to.owner);
    EXPECT_NE(from, move.to.owner);
    EXPECT_LE(++used_[move.to.owner], options_.capacity[move.to.owner]);
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
  std::int32_t next_token() { return static_cast<std::int32_t>(random_() % 20); }
  void promise(RequestId id, const std::vector<int>& owners) {
    owners_[id] = owners;
    for (int owner : owners) EXPECT_LE(++used_[owner], options_.capacity[owner]);
  }
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
      EXPECT_GE(computed_[slot.writer], (page.page + 1) * options_.page_tokens);
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
  void advance(RequestId id, std::int64_t count) {
    computed_[id] += count;
    EXPECT_EQ(std::ssize(pages_of(id)), pages_for(computed_[id], options_.page_tokens));
    EXPECT_GE(std::ssize(owners_[id]) * options_.page_tokens, computed_[id]);
  }

  PlannerOptions options_;
  std::mt19937 random_;
  std::uint64_t epoch_ = 0;
  std::vector<std::int64_t> used_;
  std::map<RequestId, std::vector<int>> owners_;
  std::map<RequestId, std::int64_t> computed_;
  std::map<std::pair<int, std::int32_t>, SlotContents> in_slot_;  // by owner and slot
  std::map<RequestId, std::int64_t> whole_chunk_;
  std::map<RequestId, int> tail_on_;  // the rank that makes a fork's copy
  std::int64_t hits_ = 0;
  std::int64_t forks_ = 0;
  std::int64_t moves_ = 0;
};

}  // namespace longspan::test

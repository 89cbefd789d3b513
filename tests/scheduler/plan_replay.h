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
    EXPECT_THAT(plan.group, testing::IsSubsetOf(options_.group));
    for (const ForkedRequest& fork : plan.forks) share(fork);
    for (RequestId id : plan.finished) {
      for (int owner : owners_[id]) --used_[owner];
      owners_.erase(id);
      for (auto& [slot, page] : in_slot_) page.requests.erase(id);
    }
    for (const GrantedPage& page : plan.grants) place(plan, page);
    std::vector<SampledToken> sampled;
    auto rows = std::ssize(plan.decode);
    for (const PrefillChunk& chunk : plan.prefill) {
      EXPECT_EQ(chunk.first, computed_[chunk.request]);
      rows += most_rank_rows(chunk.count, 1, std::ssize(options_.group), options_.page_tokens);
      if (options_.cuts_are_fixed) expect_fixed_cut(chunk);
      if (!chunk.owners.empty()) promise(chunk.request, chunk.owners);
      advance(chunk.request, chunk.count);
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
    return sampled;
  }

  const std::map<RequestId, std::int64_t>& computed() const { return computed_; }
  std::int64_t hits() const { return hits_; }
  std::int64_t forks() const { return forks_; }

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
    ++forks_;
  }
  /// As the owner does: a slot of its own, that nobody uses or that holds what it should.
  void place(const StepPlan& plan, const GrantedPage& page) {
    EXPECT_LT(page.at.slot, options_.capacity[page.at.owner]);
    EXPECT_THAT(plan.group, testing::Contains(page.at.owner));
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
  std::int64_t hits_ = 0;
  std::int64_t forks_ = 0;
};

}  // namespace longspan::test

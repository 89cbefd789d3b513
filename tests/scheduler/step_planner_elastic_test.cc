// What a policy can change of a request while it runs, one border at a time; step_planner_test
// draws everything.
#include <gmock/gmock.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

#include "scheduler/policies/random_elastic.h"
#include "scheduler/step_planner.h"

namespace longspan {
namespace {

using testing::ElementsAre;

/// Says what a test wants; without that, what stays as it is.
struct Script {
  std::function<std::vector<int>(const StepBorder&)> group = nullptr;
  std::function<std::optional<std::vector<int>>(const StepBorder&)> owners = nullptr;
  std::function<std::vector<WantedMove>(const StepBorder&)> moves = nullptr;
};

class Scripted final : public StepPolicy {
 public:
  explicit Scripted(Script script) : script_(std::move(script)) {}

  std::vector<int> group(const StepBorder& border) override {
    return script_.group ? script_.group(border) : StepPolicy::group(border);
  }
  std::optional<std::vector<int>> owners(const StepBorder& border) override {
    return script_.owners ? script_.owners(border) : StepPolicy::owners(border);
  }
  std::vector<WantedMove> moves(const StepBorder& border) override {
    return script_.moves ? script_.moves(border) : StepPolicy::moves(border);
  }

 private:
  Script script_;
};

/// Pages of 4 tokens, chunks of 8.
PlannerOptions elastic(std::vector<std::int64_t> capacity, const Script& script) {
  PlannerOptions options{.capacity = std::move(capacity), .page_tokens = 4, .chunk_tokens = 8};
  for (int rank = 0; rank < std::ssize(options.capacity); ++rank) options.group.push_back(rank);
  options.least_degree = 1;
  options.step_policy = [script] { return std::make_unique<Scripted>(script); };
  return options;
}

std::int64_t pages_left(const StepBorder& border) {
  return std::ssize(border.owners) - border.settled;
}

/// All pages that may have another owner, on one rank.
auto all_on(int rank) {
  return [rank](const StepBorder& border) { return std::vector(pages_left(border), rank); };
}

// Pages 0 1 2 of a prompt of 20 are on ranks 0 1 2; its second chunk is computed by rank 2 alone.
TEST(StepPlannerElasticTest, WhoHasPagesAndComputesNothingStandsBehindThoseWhoCompute) {
  StepPlanner planner(elastic({9, 8, 8}, {.group = [](const StepBorder& border) {
                                return border.computed == 8 ? std::vector{2} : std::vector{1, 0, 2};
                              }}));
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 20, .max_new = 2}));
  const auto first = planner.next();
  EXPECT_THAT(first->prefill[0].group, ElementsAre(1, 0, 2));
  EXPECT_EQ(first->prefill[0].holders, 0);
  planner.completed({});
  const auto second = planner.next();
  EXPECT_THAT(second->prefill[0].group, ElementsAre(2, 0, 1));
  EXPECT_EQ(second->prefill[0].holders, 2);
  EXPECT_EQ(second->prefill[0].computing(), 1);
  planner.completed({});
  EXPECT_THAT(planner.next()->prefill[0].group, ElementsAre(1, 0, 2));
  EXPECT_EQ(planner.elastic_counts().regroups, 2);
}

TEST(StepPlannerElasticTest, WhoHasNoPageAndComputesNothingSitsOut) {
  StepPlanner planner(
      elastic({9, 9, 9}, {.group = [](auto&) { return std::vector{2, 1}; }, .owners = all_on(1)}));
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 8, .max_new = 3}));
  const auto chunk = planner.next();
  EXPECT_THAT(chunk->group, ElementsAre(1, 2));
  EXPECT_THAT(chunk->prefill[0].group, ElementsAre(2, 1));
  planner.completed({{0, 5}});
  EXPECT_THAT(planner.next()->group, ElementsAre(1)) << "who has the pages decodes alone";
  EXPECT_EQ(planner.elastic_counts().moves, 0);
}

// The first chunk's pages are on rank 0; from position 8 on all are on rank 1, from 16 on rank 2.
TEST(StepPlannerElasticTest, NewOwnersGetThePagesThatNobodyHasAndOldPagesStay) {
  StepPlanner planner(elastic({9, 9, 9}, {.owners = [](const StepBorder& border) {
                                const int rank = static_cast<int>(border.computed / 8);
                                return std::vector(pages_left(border), rank);
                              }}));
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 14, .max_new = 9}));
  (void)planner.next();
  planner.completed({});
  const auto second = planner.next();
  ASSERT_EQ(second->owners.size(), 1u);
  EXPECT_EQ(second->owners[0].first, 2);
  EXPECT_THAT(second->owners[0].owners, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(planner.owners(0), ElementsAre(0, 0, 1, 1, 1, 1));
  std::vector<int> masters;
  planner.completed({{0, 5}});
  for (int row = 0; row < 8; ++row) {
    const auto plan = planner.next();
    masters.push_back(plan->decode.at(0).master);
    EXPECT_EQ(plan->group.size(), row < 2 ? 2u : 3u);
    planner.completed({{0, 5}});
  }
  EXPECT_THAT(masters, ElementsAre(1, 1, 2, 2, 2, 2, 2, 2)) << "at a page's border only";
  EXPECT_EQ(planner.next(), std::nullopt);
}

// Of 4 and 4 pages the first request takes one of rank 0 and three of rank 1 before the other
// starts: that has room for four where the layout would not put them.
TEST(StepPlannerElasticTest, PlacesFollowTheOwners) {
  StepPlanner planner(elastic({4, 4}, {.owners = [](const StepBorder& border) {
                                std::vector<int> owners(pages_left(border), 1);
                                if (border.settled == 0) owners[0] = 0;
                                return border.request == 0 ? std::optional(owners) : std::nullopt;
                              }}));
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 14, .max_new = 3}));
  (void)planner.next();
  planner.completed({});
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 16, .max_new = 1}));
  (void)planner.next();
  EXPECT_THAT(planner.owners(0), ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(planner.owners(1), ElementsAre(0, 0, 0, 1));
  ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 1, .max_new = 1}));
  planner.completed({{0, 5}});
  (void)planner.next();
  EXPECT_FALSE(planner.ledger().runs(2)) << "nothing is left";
}

// Five pages on rank 0 are to be on rank 1, which is said once, and then page 3 on rank 2 instead.
// The budget is a page a step, and two were saved up.
TEST(StepPlannerElasticTest, WhatMovesGoesInPiecesOfTheBudgetAndEachStepGoesOnBetween) {
  PlannerOptions options =
      elastic({12, 12, 12}, {.owners = all_on(0), .moves = [](const StepBorder& border) {
                               std::vector<WantedMove> moves;
                               for (int page = 0; page < 5 && border.computed == 20; ++page) {
                                 moves.push_back({page, 1});
                               }
                               if (border.computed == 21) moves = {{3, 2}};
                               return moves;
                             }});
  options.page_bytes = 1000;
  options.move_bandwidth = 400'000;
  options.headroom = 8;
  options.chunk_tokens = 64;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 20, .max_new = 9}));
  Nanoseconds now = 0;
  std::vector<std::vector<std::pair<std::int64_t, int>>> moved;
  std::vector<std::int64_t> left;
  while (const auto plan = planner.next(nullptr, now += 2'500'000)) {
    moved.emplace_back();
    for (const PageMove& move : plan->moves) moved.back().emplace_back(move.page, move.to.owner);
    left.push_back(planner.moves_left());
    EXPECT_EQ(plan->prefill.size() + plan->decode.size(), 1u) << "it goes on";
    planner.completed({{0, 5}});
    EXPECT_EQ(planner.ledger().check(), std::nullopt);
  }
  using Moves = std::vector<std::pair<std::int64_t, int>>;
  ASSERT_EQ(moved.size(), 9u);
  EXPECT_EQ(moved[1], (Moves{{0, 1}, {1, 1}, {2, 1}}));
  EXPECT_EQ(moved[2], (Moves{{3, 2}}));
  EXPECT_EQ(moved[3], (Moves{{4, 1}}));
  EXPECT_THAT(left, ElementsAre(0, 2, 1, 0, 0, 0, 0, 0, 0));
}

TEST(StepPlannerElasticTest, APolicyThatWantsWhatThereIsNotIsRefused) {
  const auto plan = [](const Script& script) {
    StepPlanner planner(elastic({3, 3}, script));
    EXPECT_TRUE(planner.submit({.id = 0, .prompt_tokens = 14, .max_new = 3}));
    (void)planner.next();
  };
  const auto owners = [&](std::vector<int> wanted) {
    plan({.owners = [wanted](const StepBorder&) { return std::optional(wanted); }});
  };
  owners({1, 0, 1, 1});
  EXPECT_THROW(owners({1, 1, 1, 1}), std::logic_error) << "rank 1 has three";
  EXPECT_THROW(owners({1, 0, 1}), std::logic_error) << "it may need four";
  EXPECT_THROW(owners({0, 1, 2, 0}), std::logic_error) << "there is no rank 2";
  const auto group = [&](std::vector<int> wanted) {
    plan({.group = [wanted](const StepBorder&) { return wanted; }});
  };
  group({1});
  EXPECT_THROW(group({}), std::logic_error);
  EXPECT_THROW(group({0, 0}), std::logic_error);
  EXPECT_THROW(group({0, 2}), std::logic_error);
}

// Rank 0 has two pages: the parent's last one, which its fork still has to copy, and the copy.
TEST(StepPlannerElasticTest, APageThatAForkCopiesKeepsItsPlaceWhenItsOwnerLeaves) {
  PlannerOptions options{.group = {0, 1}, .capacity = {2, 6}, .page_tokens = 4, .chunk_tokens = 64};
  StepPlanner planner(options);
  for (RequestId id : {0, 1}) {
    RequestShape shape{.id = id, .prompt_tokens = 7, .max_new = 2, .stop_tokens = {77}};
    if (id == 1) shape.like = 0;
    ASSERT_TRUE(planner.submit(shape));
  }
  const auto first = planner.next();  // most is free on rank 1: page 0 is there, page 1 on rank 0
  EXPECT_THAT(planner.owners(0), ElementsAre(1, 0));
  ASSERT_THAT(first->prefill.at(0).forks, ElementsAre(1));
  planner.completed({{0, 77}, {1, 5}});
  ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 5, .max_new = 1}));
  const auto second = planner.next();
  EXPECT_FALSE(planner.ledger().runs(2)) << "its second page would be on rank 0";
  EXPECT_EQ(second->grants.at(0).copied, 3);
  planner.completed({{1, 6}});
  EXPECT_TRUE(planner.next()->prefill.at(0).samples);
}

// Of a turn that goes on from its beginning, ranks have more pages open than its rows see.
TEST(StepPlannerElasticTest, WhoDecodesBehindAnEarlierPositionIsWithAllWhoHaveItsPages) {
  PlannerOptions options{.group = {0, 1}, .capacity = {8, 8}, .page_tokens = 4, .chunk_tokens = 64};
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 10, .max_new = 1, .room = 24}));
  (void)planner.next();
  planner.completed({{0, 5}});
  ASSERT_EQ(planner.extend({.id = 0, .prompt_tokens = 2, .max_new = 2}, 2), 1);
  (void)planner.next();
  planner.completed({{0, 5}});
  EXPECT_THAT(planner.next()->group, ElementsAre(0, 1));
}

TEST(RandomElasticTest, OneSeedGivesOneWayAndAnotherAnother) {
  const auto draw = [](std::uint64_t seed) {
    RandomElastic policy(seed);
    const std::vector<int> ranks{0, 1, 2, 3}, owners(12, 0);
    const std::vector<std::int64_t> places{2, 3, 4, 5};
    const StepBorder border{
        .full_pages = 4, .ranks = ranks, .owners = owners, .settled = 4, .places = places};
    std::vector<int> drawn;
    for (int i = 0; i < 50; ++i) {
      for (const WantedMove& move : policy.moves(border)) drawn.push_back(move.to);
      const std::vector<int> to = policy.owners(border).value_or(owners), by = policy.group(border);
      drawn.insert(drawn.end(), to.begin(), to.end());
      drawn.insert(drawn.end(), by.begin(), by.end());
    }
    return drawn;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

}  // namespace
}  // namespace longspan

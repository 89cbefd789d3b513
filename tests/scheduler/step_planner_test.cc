#include "scheduler/step_planner.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <tuple>

#include "scheduler/decode_run.h"
#include "scheduler/policies/random_elastic.h"
#include "scheduler/step_size.h"
#include "tests/scheduler/plan_replay.h"

namespace longspan {
namespace {

using test::Replay;
using testing::ElementsAre;
using testing::ElementsAreArray;

PlannerOptions two_ranks() {
  return {.group = {0, 1}, .capacity = {4, 4}, .page_tokens = 4, .chunk_tokens = 6};
}

/// Of all pages of `id`, as a plan says when it starts.
std::vector<int> told_owners(const StepPlan& plan, RequestId id) {
  const auto told = std::ranges::find(plan.owners, id, &PageOwners::request);
  return told == plan.owners.end() ? std::vector<int>{} : told->owners;
}

TEST(StepPlannerTest, APromptIsCutIntoChunksAndOnlyTheLastOneSamples) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 7, .prompt_tokens = 14, .max_new = 2}));
  const auto first = planner.next();
  EXPECT_EQ(first->prefill[0].first, 0);
  EXPECT_EQ(first->prefill[0].count, 6);
  EXPECT_FALSE(first->prefill[0].samples);
  EXPECT_THAT(told_owners(*first, 7), ElementsAre(0, 1, 0, 1));  // position 14 is the last one
  planner.completed({});
  const auto second = planner.next();
  EXPECT_TRUE(second->owners.empty());
  planner.completed({});
  const auto last = planner.next();
  EXPECT_EQ(last->prefill[0].first, 12);
  EXPECT_EQ(last->prefill[0].count, 2);
  EXPECT_TRUE(last->prefill[0].samples);
}

TEST(StepPlannerTest, TheOwnerOfTheNextTokensPageIsItsMaster) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 3, .max_new = 4}));
  (void)planner.next();
  planner.completed({{0, 50}});
  const auto at_3 = planner.next();
  EXPECT_EQ(at_3->decode[0].position, 3);
  EXPECT_EQ(at_3->decode[0].token, 50);
  EXPECT_EQ(at_3->decode[0].master, 0);
  EXPECT_THAT(at_3->group, ElementsAre(0));
  planner.completed({{0, 51}});
  const auto at_4 = planner.next();
  EXPECT_EQ(at_4->decode[0].master, 1);
  EXPECT_THAT(at_4->group, ElementsAre(0, 1));
}

/// (request, page, owner) of each page that a plan grants.
std::vector<std::tuple<RequestId, int, int>> granted(const StepPlan& plan) {
  std::vector<std::tuple<RequestId, int, int>> pages;
  for (const GrantedPage& page : plan.grants) {
    pages.emplace_back(page.request, page.page, page.at.owner);
  }
  return pages;
}

TEST(StepPlannerTest, APageIsTakenWithTheStepThatOpensIt) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 7, .prompt_tokens = 7, .max_new = 3}));
  using Pages = std::vector<std::tuple<RequestId, int, int>>;
  EXPECT_EQ(granted(*planner.next()), (Pages{{7, 0, 0}, {7, 1, 1}}));
  EXPECT_EQ(planner.ledger().promise().promised, 3);
  planner.completed({});
  EXPECT_EQ(granted(*planner.next()), Pages{}) << "position 6 is on page 1";
  planner.completed({{7, 40}});
  EXPECT_EQ(granted(*planner.next()), Pages{});
  planner.completed({{7, 41}});
  const auto last = planner.next();
  EXPECT_EQ(last->decode.at(0).position, 8);
  EXPECT_EQ(granted(*last), (Pages{{7, 2, 0}}));
  planner.completed({{7, 42}});
  EXPECT_EQ(planner.ledger().promise().promised, 0);
  EXPECT_EQ(planner.ledger().counts(0).in_use() + planner.ledger().counts(1).in_use(), 0);
}

TEST(StepPlannerTest, WhatOnlyMovesMayTakeIsPromisedToNobody) {
  PlannerOptions options = two_ranks();
  options.headroom = 2;
  StepPlanner planner(options);
  EXPECT_FALSE(planner.submit({.id = 0, .prompt_tokens = 25, .max_new = 1})) << "7 of 8 pages";
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 8, .max_new = 1}));
  ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 17, .max_new = 1}));
  EXPECT_EQ(planner.next()->prefill.size(), 1u) << "its 5 pages wait for the 2 of the other";
}

TEST(StepPlannerTest, OnlyFullPagesMoveAndOnlyToARankWithRoom) {
  PlannerOptions options = two_ranks();
  options.headroom = 1;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 6, .max_new = 12}));  // pages 0 1 0 1 0
  EXPECT_FALSE(planner.move(0, 0, 1)) << "it has not started";
  (void)planner.next();
  planner.completed({{0, 5}});
  EXPECT_FALSE(planner.move(0, 1, 0)) << "half full";
  EXPECT_FALSE(planner.move(0, 0, 0)) << "it is there";
  EXPECT_FALSE(planner.move(0, -1, 1));
  EXPECT_FALSE(planner.move(0, 0, 2)) << "not of the group";
  EXPECT_FALSE(planner.move(1, 0, 1)) << "nobody's";
  EXPECT_TRUE(planner.move(0, 0, 1));
  EXPECT_FALSE(planner.move(0, 0, 0)) << "one move a step";
  EXPECT_THAT(planner.owners(0), ElementsAre(1, 1, 0, 1, 0));
  const auto plan = planner.next();
  ASSERT_EQ(plan->moves.size(), 1u);
  EXPECT_EQ(plan->moves[0].to.owner, 1);
  EXPECT_EQ(plan->decode[0].master, 1);
  EXPECT_THAT(plan->group, ElementsAre(1));
  planner.completed({{0, 6}});
  EXPECT_TRUE(planner.next()->moves.empty());
}

// Both pages of rank 1 leave, and until a step has done so they still take room there.
TEST(StepPlannerTest, APageThatLeavesIsFreeAfterTheStep) {
  PlannerOptions options = two_ranks();
  options.capacity = {4, 2};
  options.headroom = 2;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 12, .max_new = 5}));  // 0 1 0 1
  while (planner.next()->prefill[0].first < 6) planner.completed({});
  planner.completed({{0, 5}});
  ASSERT_TRUE(planner.move(0, 1, 0));
  ASSERT_FALSE(planner.move(0, 0, 1)) << "rank 1 is full until page 1 has left";
  (void)planner.next();
  planner.completed({{0, 5}});
  EXPECT_TRUE(planner.move(0, 0, 1));
}

// With nobody to make a step for there is no plan, and the ranks hear of the move in the next one.
TEST(StepPlannerTest, AMoveOfAConversationThatRestsIsToldWhenItGoesOn) {
  PlannerOptions options = two_ranks();
  options.headroom = 1;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 6, .max_new = 4, .room = 12}));
  (void)planner.next();
  planner.completed({{0, 5}});
  ASSERT_TRUE(planner.move(0, 0, 1));
  planner.end(0);
  ASSERT_TRUE(planner.holds(0));
  EXPECT_EQ(planner.next(), std::nullopt);
  ASSERT_TRUE(planner.extend({.id = 0, .prompt_tokens = 8, .max_new = 2}, 6));
  EXPECT_EQ(planner.next()->moves.size(), 1u);
}

TEST(StepPlannerTest, ARequestThatEndsTakesItsMovesAlong) {
  PlannerOptions options = two_ranks();
  options.headroom = 1;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 6, .max_new = 4}));
  (void)planner.next();
  planner.completed({{0, 5}});
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 1, .max_new = 2}));
  ASSERT_TRUE(planner.move(0, 0, 1));
  planner.abort(0);
  EXPECT_TRUE(planner.next()->moves.empty());
}

TEST(StepPlannerTest, ARequestLeavesAtItsStopTokenOrItsLastToken) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 1, .max_new = 9, .stop_tokens = {77, 2}}));
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 1, .max_new = 2, .stop_tokens = {77, 2}}));
  (void)planner.next();
  planner.completed({{0, 5}});
  (void)planner.next();
  planner.completed({{1, 5}});
  EXPECT_EQ(planner.next()->decode.size(), 2u);
  planner.completed({{0, 2}, {1, 6}});
  EXPECT_TRUE(planner.idle());
  EXPECT_EQ(planner.next(), std::nullopt);
}

TEST(StepPlannerTest, WhoNeverFitsIsRefusedAndWhoDoesNotFitYetWaits) {
  StepPlanner planner(two_ranks());
  EXPECT_FALSE(planner.submit({.id = 0, .prompt_tokens = 32, .max_new = 2}));
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 32, .max_new = 1}));
  ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 1, .max_new = 1}));
  std::vector<RequestId> order;
  while (const auto plan = planner.next()) {
    ASSERT_EQ(plan->prefill.size(), 1u);
    const PrefillChunk& chunk = plan->prefill[0];
    order.push_back(chunk.request);
    planner.completed(chunk.samples ? std::vector<SampledToken>{{chunk.request, 9}}
                                    : std::vector<SampledToken>{});
  }
  EXPECT_THAT(order, ElementsAre(1, 1, 1, 1, 1, 1, 2));
}

// Of 13 and 2 tokens in chunks of 6: the short one is done after a step, and decodes from then on.
TEST(StepPlannerTest, AShortPromptGoesFirstAndItsAnswerRidesAlongWithTheLongOne) {
  PlannerOptions options = two_ranks();
  options.capacity = {8, 8};
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 13, .max_new = 2}));
  EXPECT_EQ(planner.next()->prefill[0].request, 0);
  planner.completed({});
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 2, .max_new = 4}));
  const auto short_one = planner.next();
  ASSERT_EQ(short_one->prefill.size(), 1u);
  EXPECT_EQ(short_one->prefill[0].request, 1);
  EXPECT_TRUE(short_one->prefill[0].samples);
  EXPECT_TRUE(short_one->decode.empty());
  planner.completed({{1, 40}});
  for (std::int64_t position : {2, 3}) {
    const auto mixed = planner.next();
    EXPECT_THAT(mixed->group, ElementsAre(0, 1));
    EXPECT_EQ(mixed->prefill.at(0).request, 0);
    ASSERT_EQ(mixed->decode.size(), 1u) << "the prompt that ends here has nothing to decode yet";
    EXPECT_EQ(mixed->decode[0].request, 1);
    EXPECT_EQ(mixed->decode[0].position, position);
    std::vector<SampledToken> sampled{{1, 41}};
    if (mixed->prefill[0].samples) sampled.push_back({0, 42});
    planner.completed(sampled);
  }
  const auto both = planner.next();
  EXPECT_TRUE(both->prefill.empty());
  EXPECT_EQ(both->decode.size(), 2u);
}

/// (request, first, count) of each chunk of the next steps, until no prompt is left.
std::vector<std::vector<std::tuple<RequestId, int, int>>> chunks_of_steps(StepPlanner& planner) {
  std::vector<std::vector<std::tuple<RequestId, int, int>>> steps;
  while (const auto plan = planner.next()) {
    steps.emplace_back();
    std::vector<SampledToken> sampled;
    for (const PrefillChunk& chunk : plan->prefill) {
      steps.back().emplace_back(chunk.request, chunk.first, chunk.count);
      if (chunk.samples) sampled.push_back({chunk.request, 9});
    }
    planner.completed(sampled);
  }
  return steps;
}

// In chunks of 6: the long prompt is cut where it would be alone, not where others leave room.
TEST(StepPlannerTest, ShortPromptsShareAStepAsFarAsTheyFitWhole) {
  using Steps = std::vector<std::vector<std::tuple<RequestId, int, int>>>;
  const Steps shared{{{2, 0, 1}, {0, 0, 2}, {1, 0, 3}}, {{4, 0, 4}}, {{3, 0, 6}}, {{3, 6, 2}}};
  const Steps in_pairs{{{2, 0, 1}, {0, 0, 2}}, {{1, 0, 3}}, {{4, 0, 4}}, {{3, 0, 6}}, {{3, 6, 2}}};
  for (const auto& [most, expected] : {std::pair{16, shared}, {2, in_pairs}}) {
    PlannerOptions options = two_ranks();
    options.capacity = {64, 64};
    options.max_chunks = most;
    StepPlanner planner(options);
    for (RequestId id = 0; const int tokens : {2, 3, 1, 8, 4}) {
      ASSERT_TRUE(planner.submit({.id = id++, .prompt_tokens = tokens, .max_new = 1}));
    }
    EXPECT_EQ(chunks_of_steps(planner), expected);
  }
}

/// A millisecond a token and 10 a step, keys are free.
CostModel milliseconds() {
  return {{{2, {.a = 0.010, .b = 0.001}}}, {{2, {.fixed = 0.010, .of_rows = {{1, 0.001}}}}}, 1};
}

// Of 40 ms 29 are left beside a row: 24 tokens, three pages of each rank.
TEST(StepPlannerTest, AChunkKeepsWithinTheTargetWhereKeysAreNotRounded) {
  const CostModel costs = milliseconds();
  for (const bool fixed : {false, true}) {
    PlannerOptions options = two_ranks();
    options.capacity = {64, 64};
    options.chunk_tokens = 100;
    options.target = 40'000'000;
    options.cuts_are_fixed = fixed;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 1, .max_new = 50}));
    (void)planner.next(&costs);
    planner.completed({{0, 9}});
    ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 150, .max_new = 1}));
    std::vector<std::int64_t> counts;
    while (true) {
      const auto plan = planner.next(&costs);
      ASSERT_EQ(plan->decode.size(), 1u);
      ASSERT_EQ(plan->prefill.size(), 1u);
      const PrefillChunk& chunk = plan->prefill[0];
      counts.push_back(chunk.count);
      std::vector<SampledToken> sampled{{0, 9}};
      if (chunk.samples) sampled.push_back({chunk.request, 9});
      planner.completed(sampled);
      if (chunk.samples) break;
    }
    if (fixed) {
      EXPECT_THAT(counts, ElementsAre(100, 50));
    } else {
      EXPECT_THAT(counts, ElementsAre(24, 24, 24, 24, 24, 24, 6));
    }
  }
}

/// Requests that start in the order of `arrivals`, given as (id, prompt tokens, urgency), one at a
/// time, when all have come by `now`.
std::vector<RequestId> starts(const std::vector<RequestShape>& arrivals, Nanoseconds now,
                              const CostModel* costs, int max_passed = 16) {
  PlannerOptions options = two_ranks();
  options.capacity = {4096, 4096};
  options.chunk_tokens = 4096;
  options.max_running = 1;
  options.max_passed = max_passed;
  StepPlanner planner(options);
  for (const RequestShape& shape : arrivals) EXPECT_TRUE(planner.submit(shape));
  std::vector<RequestId> order;
  while (const auto plan = planner.next(costs, now)) {
    std::vector<SampledToken> sampled;
    for (const PrefillChunk& chunk : plan->prefill) {
      if (chunk.first == 0) order.push_back(chunk.request);
      if (chunk.samples) sampled.push_back({chunk.request, 9});
    }
    planner.completed(sampled);
  }
  return order;
}

// At 3 s the long request, which is allowed 20 s, can wait; the short ones are late. At 30 s all
// are late, and without costs nobody knows.
TEST(StepPlannerTest, WhoHasLeastSlackStartsFirst) {
  const CostModel costs = milliseconds();
  constexpr Nanoseconds kSecond = 1'000'000'000;
  const std::vector<RequestShape> arrivals{
      {.id = 0, .prompt_tokens = 4000, .max_new = 1, .arrival = 0},
      {.id = 1, .prompt_tokens = 50, .max_new = 1, .arrival = kSecond},
      {.id = 2, .prompt_tokens = 50, .max_new = 1, .arrival = 2 * kSecond}};
  EXPECT_THAT(starts(arrivals, 3 * kSecond, &costs), ElementsAre(1, 2, 0));
  EXPECT_THAT(starts(arrivals, 60 * kSecond, &costs), ElementsAre(0, 1, 2));
  EXPECT_THAT(starts(arrivals, 3 * kSecond, nullptr), ElementsAre(0, 1, 2));
}

TEST(StepPlannerTest, AWaitingRequestIsPassedSoManyTimesAtMost) {
  const CostModel costs = milliseconds();
  std::vector<RequestShape> arrivals{
      {.id = 0, .prompt_tokens = 50, .max_new = 1, .urgency = Urgency::kBatch}};
  for (RequestId id = 1; id <= 5; ++id) {
    arrivals.push_back({.id = id, .prompt_tokens = 50, .max_new = 1, .arrival = id});
  }
  EXPECT_THAT(starts(arrivals, 10, &costs), ElementsAre(1, 2, 3, 4, 5, 0));
  EXPECT_THAT(starts(arrivals, 10, &costs, 3), ElementsAre(1, 2, 3, 0, 4, 5));
  EXPECT_THAT(starts(arrivals, 10, &costs, 0), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(StepPlannerTest, NoMoreRunThanARankHasRowsFor) {
  PlannerOptions options = two_ranks();
  options.capacity = {64, 64};
  options.chunk_tokens = 100;
  options.step_rows = 3;
  StepPlanner planner(options);
  for (RequestId id = 0; id < 4; ++id) {
    ASSERT_TRUE(planner.submit({.id = id, .prompt_tokens = 5, .max_new = 2}));
  }
  const auto first = planner.next();
  EXPECT_TRUE(planner.ledger().runs(2));
  EXPECT_FALSE(planner.ledger().runs(3));
  ASSERT_EQ(first->prefill.size(), 1u);
  EXPECT_EQ(first->prefill[0].count, 1) << "a row for it, and one for each other";
}

TEST(StepPlannerTest, ARequestBeginsWhereMostIsFreeWithoutCuttingAHostInTwo) {
  for (const auto& [turn, firsts] : {std::pair{1, std::vector{0, 1, 2, 3, 0}},
                                     {2, std::vector{0, 2, 0, 2, 0}},
                                     {4, std::vector{0, 0, 0, 0, 0}}}) {
    PlannerOptions options{
        .group = {0, 1, 2, 3}, .capacity = {8, 8, 8, 8}, .page_tokens = 4, .turn = turn};
    StepPlanner planner(options);
    for (RequestId id = 0; id < 5; ++id) {
      ASSERT_TRUE(planner.submit({.id = id, .prompt_tokens = 4, .max_new = 1}));
    }
    const auto plan = planner.next();
    ASSERT_EQ(plan->prefill.size(), 5u);
    EXPECT_THAT(plan->group, ElementsAre(0, 1, 2, 3));
    for (const PrefillChunk& chunk : plan->prefill) {
      const int first = firsts[chunk.request];
      EXPECT_THAT(told_owners(*plan, chunk.request), ElementsAre(first)) << turn;
      EXPECT_THAT(chunk.group,
                  ElementsAre(first, (first + 1) % 4, (first + 2) % 4, (first + 3) % 4));
    }
  }
}

TEST(StepPlannerTest, ALongPromptIsPassedOverSoManyTimesAtMost) {
  for (int most : {0, 1, 3}) {
    PlannerOptions options = two_ranks();
    options.capacity = {64, 64};
    options.max_overtaken = most;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 240, .max_new = 1}));
    int own = 0, others_in_a_row = 0;
    for (RequestId id = 1; id < 40; ++id) {
      ASSERT_TRUE(planner.submit({.id = id, .prompt_tokens = 6, .max_new = 1}));
      const auto plan = planner.next();
      const PrefillChunk& chunk = plan->prefill.at(0);
      const bool is_own = chunk.request == 0;
      own += is_own;
      others_in_a_row = is_own ? 0 : others_in_a_row + 1;
      EXPECT_LE(others_in_a_row, most);
      planner.completed(chunk.samples ? std::vector<SampledToken>{{chunk.request, 9}}
                                      : std::vector<SampledToken>{});
    }
    EXPECT_EQ(own, 39 / (most + 1));
  }
}

TEST(StepPlannerTest, AnAbortedRequestIsForgottenInTheNextPlan) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 12, .max_new = 4}));
  (void)planner.next();
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 2, .max_new = 4}));
  planner.abort(0);
  planner.completed({});
  const auto plan = planner.next();
  EXPECT_THAT(plan->finished, ElementsAre(0));
  EXPECT_EQ(plan->prefill[0].request, 1);
}

// Ranks know of it from the day it came.
TEST(StepPlannerTest, ARequestThatEndsBeforeItStartsIsForgottenToo) {
  PlannerOptions options = two_ranks();
  options.max_running = 1;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 12, .max_new = 4}));
  ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = 2, .max_new = 4}));
  (void)planner.next();
  planner.end(1);
  planner.completed({});
  EXPECT_THAT(planner.next()->finished, ElementsAre(1));
}

/// A conversation with room for 24 tokens, to its end: 6 of a prompt, 3 of an answer, the last of
/// which is not computed.
StepPlanner held_planner(PlannerOptions options = two_ranks()) {
  StepPlanner planner(std::move(options));
  EXPECT_TRUE(planner.submit({.id = 3, .prompt_tokens = 6, .max_new = 3, .room = 24}));
  const auto first = planner.next();
  EXPECT_THAT(told_owners(*first, 3), ElementsAre(0, 1, 0, 1, 0, 1)) << "of its room";
  for (int token : {50, 51, 52}) {
    if (token != 50) (void)planner.next();
    planner.completed({{3, token}});
  }
  EXPECT_EQ(planner.next(), std::nullopt);
  return planner;
}

TEST(StepPlannerTest, AConversationIsHeldAtItsEndAndGoesOnBehindWhatIsKept) {
  StepPlanner planner = held_planner();
  EXPECT_TRUE(planner.holds(3));
  EXPECT_TRUE(planner.idle());
  EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 17, .max_new = 2}, 9), 8);
  EXPECT_FALSE(planner.holds(3));
  const auto chunk = planner.next();
  EXPECT_TRUE(chunk->finished.empty());
  EXPECT_EQ(chunk->prefill[0].first, 8);
  EXPECT_EQ(chunk->prefill[0].count, 6);
  EXPECT_TRUE(chunk->owners.empty()) << "they are known";
  EXPECT_FALSE(chunk->prefill[0].samples);
  planner.completed({});
  EXPECT_TRUE(planner.next()->prefill[0].samples);
  planner.completed({{3, 60}});
  const auto row = planner.next();
  EXPECT_EQ(row->decode[0].position, 17);
  EXPECT_EQ(row->decode[0].token, 60);
  EXPECT_EQ(row->decode[0].master, 0);
  planner.completed({{3, 61}});
  EXPECT_TRUE(planner.holds(3));
}

TEST(StepPlannerTest, WhatIsKeptEndsWithWhatIsCommonComputedAndBeforeTheRowThatSamples) {
  for (const auto& [common, prompt, keep] :
       {std::tuple{0, 9, 0}, {1, 9, 1}, {7, 9, 7}, {8, 9, 8}, {9, 10, 8}, {8, 8, 7}, {1, 1, 0}}) {
    StepPlanner planner = held_planner();
    EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = prompt, .max_new = 1}, common), keep);
    const auto plan = planner.next();
    EXPECT_EQ(plan->prefill[0].first, keep);
    EXPECT_TRUE(plan->owners.empty());
  }
}

// 8 of 4 a page are computed: both pages were full. With a ninth, the third is open.
TEST(StepPlannerTest, APageThatIsRoundedWhenFullStaysWholeOrNotAtAll) {
  PlannerOptions options = two_ranks();
  options.rounds_full_pages = true;
  for (const auto& [common, keep] : {std::pair{8, 8}, {7, 4}, {5, 4}, {4, 4}, {3, 0}}) {
    StepPlanner planner = held_planner(options);
    EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 12, .max_new = 1}, common), keep);
  }
  StepPlanner planner = held_planner(options);
  ASSERT_EQ(planner.extend({.id = 3, .prompt_tokens = 11, .max_new = 1}, 8), 8);
  (void)planner.next();
  planner.completed({{3, 1}});
  EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 12, .max_new = 1}, 9), 9);
}

TEST(StepPlannerTest, AConversationOfAnotherJobIsHeldWithItsPagesAndGoesOn) {
  StepPlanner planner = held_planner();
  planner.abort(3);
  const auto restored = planner.restore({.id = 5, .prompt_tokens = 9, .room = 24});
  ASSERT_TRUE(restored);
  EXPECT_THAT(restored->finished, ElementsAre(3)) << "whose pages it may have";
  ASSERT_EQ(restored->pages.size(), 3u);
  for (std::size_t page = 0; page < 3; ++page) {
    EXPECT_EQ(restored->pages[page].owner, restored->owners[page]);
    EXPECT_EQ(planner.ledger().find(restored->pages[page])->state, PageState::kLive);
  }
  EXPECT_EQ(restored->owners.size(), 6u) << "23 of 24 tokens are computed at most";
  EXPECT_TRUE(planner.holds(5));
  EXPECT_EQ(planner.computed_of_held(5), 9);
  EXPECT_EQ(planner.extend({.id = 5, .prompt_tokens = 12, .max_new = 2}, 9), 9);
  const auto chunk = planner.next();
  EXPECT_TRUE(chunk->finished.empty()) << "that was told";
  EXPECT_EQ(chunk->prefill[0].first, 9);
  EXPECT_EQ(chunk->prefill[0].count, 3);
  EXPECT_TRUE(chunk->owners.empty()) << "they are known";
  EXPECT_TRUE(chunk->grants.empty()) << "the third page is not full";
  EXPECT_EQ(planner.ledger().check(), std::nullopt);
}

TEST(StepPlannerTest, WhatDoesNotFitIsNotRestored) {
  StepPlanner planner(two_ranks());
  EXPECT_FALSE(planner.restore({.id = 1, .prompt_tokens = 9, .room = 9}));
  EXPECT_FALSE(planner.restore({.id = 1, .prompt_tokens = 9, .room = 1000}));
  EXPECT_TRUE(planner.restore({.id = 1, .prompt_tokens = 1, .room = 2}));
  EXPECT_THROW((void)planner.computed_of_held(2), std::logic_error);
  EXPECT_EQ(planner.ledger().check(), std::nullopt);
}

TEST(StepPlannerTest, ATurnThatDoesNotFitTheRoomIsRefusedAndTheConversationStaysHeld) {
  StepPlanner planner = held_planner();
  EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 20, .max_new = 5}, 8), std::nullopt);
  EXPECT_TRUE(planner.holds(3));
  EXPECT_EQ(planner.next(), std::nullopt);
  EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 20, .max_new = 4}, 8), 8);
  EXPECT_FALSE(planner.submit({.id = 4, .prompt_tokens = 2, .max_new = 3, .room = 4}));
  EXPECT_THROW((void)planner.extend({.id = 5, .prompt_tokens = 2, .max_new = 1}, 0),
               std::logic_error);
}

TEST(StepPlannerTest, AConversationThatIsEndedKeepsWhatWasReadUnlessItIsDropped) {
  StepPlanner planner(two_ranks());
  ASSERT_TRUE(planner.submit({.id = 3, .prompt_tokens = 14, .max_new = 2, .room = 24}));
  (void)planner.next();
  planner.completed({});
  planner.end(3);
  EXPECT_EQ(planner.next(), std::nullopt);
  EXPECT_EQ(planner.extend({.id = 3, .prompt_tokens = 14, .max_new = 2}, 14), 6);
  (void)planner.next();
  planner.completed({});
  planner.abort(3);
  EXPECT_FALSE(planner.holds(3));
  ASSERT_TRUE(planner.submit({.id = 4, .prompt_tokens = 31, .max_new = 1, .room = 32}));
  EXPECT_THAT(planner.next()->finished, ElementsAre(3));
}

TEST(StepPlannerTest, AHeldConversationKeepsItsMemoryAndItsPlaceAmongThoseThatRun) {
  PlannerOptions options = two_ranks();
  options.max_running = 1;
  StepPlanner planner = held_planner(options);
  ASSERT_TRUE(planner.submit({.id = 4, .prompt_tokens = 2, .max_new = 1}));
  EXPECT_EQ(planner.next(), std::nullopt);
  planner.abort(3);
  EXPECT_EQ(planner.next()->prefill[0].request, 4);

  StepPlanner full = held_planner();  // 6 of 8 pages
  ASSERT_TRUE(full.submit({.id = 4, .prompt_tokens = 10, .max_new = 1}));
  EXPECT_EQ(full.next(), std::nullopt);
  ASSERT_TRUE(full.submit({.id = 5, .prompt_tokens = 8, .max_new = 1}));
  full.abort(4);
  EXPECT_EQ(full.next()->prefill[0].request, 5);
}

/// Names of `count` pages, of which the first `shared` are those of everybody.
std::vector<PageHash> names(std::uint64_t own, std::uint64_t shared, std::uint64_t count) {
  std::vector<PageHash> list;
  for (std::uint64_t page = 0; page < count; ++page) {
    list.push_back({page < shared ? 1 : own, page + 1});
  }
  return list;
}

/// A request of id and name `id`, of whose full pages the first `shared` are everybody's.
RequestShape named(RequestId id, int tokens, int shared, int page_tokens = 4) {
  return {.id = id,
          .prompt_tokens = tokens,
          .max_new = 1,
          .names = names(10 + id, shared, tokens / page_tokens)};
}

/// (page, owner) of each page that a plan gives `id` with its contents.
std::vector<std::pair<int, int>> hits(const StepPlan& plan, RequestId id) {
  std::vector<std::pair<int, int>> pages;
  for (const GrantedPage& page : plan.grants) {
    if (page.request == id && page.filled) pages.emplace_back(page.page, page.at.owner);
  }
  return pages;
}

/// Steps until nothing is left.
void run_out(StepPlanner& planner) { (void)chunks_of_steps(planner); }

using Hits = std::vector<std::pair<int, int>>;

PlannerOptions roomy() {
  PlannerOptions options = two_ranks();
  options.capacity = {16, 16};
  options.chunk_tokens = 64;
  return options;
}

TEST(StepPlannerTest, APromptBeginsBehindWhatOthersHaveComputedOfIt) {
  PlannerOptions options = roomy();
  options.capacity = {16, 17};  // who has most begins
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit(named(0, 17, 3)));
  const auto first = planner.next();
  EXPECT_EQ(hits(*first, 0), Hits{});
  planner.completed({{0, 9}});
  // 0 has left; of 1 three pages are the same, of 2 all but the last position.
  ASSERT_TRUE(planner.submit(named(1, 14, 3)));
  ASSERT_TRUE(planner.submit(named(2, 12, 3)));
  const auto second = planner.next();
  EXPECT_EQ(hits(*second, 1), (Hits{{0, 1}, {1, 0}, {2, 1}}));
  EXPECT_EQ(hits(*second, 2), (Hits{{0, 1}, {1, 0}}));
  for (const PrefillChunk& chunk : second->prefill) {
    EXPECT_EQ(chunk.first, chunk.request == 1 ? 12 : 8);
    EXPECT_THAT(chunk.group, ElementsAre(0, 1)) << "page 3 of 1 on rank 1, page 2 of 2 on rank 0";
  }
  planner.completed({{1, 9}, {2, 9}});
  EXPECT_EQ(planner.ledger().promise().promised, 0);
  EXPECT_EQ(planner.ledger().counts(0).at(PageState::kCached) +
                planner.ledger().counts(1).at(PageState::kCached),
            4);
}

TEST(StepPlannerTest, AHitEndsAtAMultipleAndNotWhereLikelihoodsAreWanted) {
  for (const auto& [multiple, nll, hit] : {std::tuple{1, false, 5},
                                           {2, false, 4},
                                           {3, false, 3},
                                           {4, false, 4},
                                           {6, false, 0},
                                           {1, true, 0}}) {
    PlannerOptions options = roomy();
    options.hit_pages = multiple;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit(named(0, 24, 5)));
    run_out(planner);
    RequestShape shape = named(1, 24, 5);
    shape.wants_nll = nll;
    ASSERT_TRUE(planner.submit(shape));
    EXPECT_EQ(std::ssize(hits(*planner.next(), 1)), hit) << multiple << nll;
  }
}

TEST(StepPlannerTest, AnAbortedPromptLeavesTheFullPagesItComputed) {
  PlannerOptions options = roomy();
  options.chunk_tokens = 10;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit(named(0, 24, 6)));
  (void)planner.next();
  planner.completed({});
  (void)planner.next();  // it is aborted in the middle of this step
  planner.abort(0);
  planner.completed({});
  ASSERT_TRUE(planner.submit(named(1, 24, 6)));
  const auto plan = planner.next();
  EXPECT_EQ(hits(*plan, 1).size(), 2u) << "of 10 positions";
  EXPECT_THAT(plan->finished, ElementsAre(0));
}

TEST(StepPlannerTest, WhoBeginsAsAPromptThatIsReadWaitsForIt) {
  PlannerOptions options = roomy();
  options.chunk_tokens = 8;
  for (const auto& [shared, waits] : {std::pair{6, true}, {2, true}, {1, false}, {0, false}}) {
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit(named(0, 24, shared)));
    ASSERT_TRUE(planner.submit(named(1, 24, shared)));
    (void)planner.next();
    EXPECT_EQ(planner.ledger().runs(1), !waits) << shared;
    planner.completed({});
    planner.abort(0);
    (void)planner.next();
    EXPECT_TRUE(planner.ledger().runs(1)) << "there is nobody to wait for";
  }
}

TEST(StepPlannerTest, WhoWaitsForAPrefixLetsOthersPass) {
  PlannerOptions options = roomy();
  options.chunk_tokens = 8;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit(named(0, 24, 6)));
  ASSERT_TRUE(planner.submit(named(1, 24, 6)));
  ASSERT_TRUE(planner.submit(named(2, 8, 0)));
  (void)planner.next();
  EXPECT_FALSE(planner.ledger().runs(1));
  EXPECT_TRUE(planner.ledger().runs(2));
}

// 0 and 1 begin alike and start together, so 1 has pages of its own under names that are taken: 2
// goes on as 1 does, and must not wait for what it will not find.
TEST(StepPlannerTest, NobodyWaitsForAPrefixThatWillNotBeFound) {
  PlannerOptions options = roomy();
  options.chunk_tokens = 16;
  StepPlanner planner(options);
  RequestShape alike = named(1, 40, 1), last = named(2, 40, 1);
  last.names = alike.names;
  ASSERT_TRUE(planner.submit(named(0, 8, 1)));
  ASSERT_TRUE(planner.submit(alike));
  (void)planner.next();
  planner.completed({{0, 9}});
  (void)planner.next();
  planner.completed({});
  ASSERT_TRUE(planner.submit(last));
  const auto plan = planner.next();
  ASSERT_TRUE(planner.ledger().runs(1));
  EXPECT_TRUE(planner.ledger().runs(2));
  EXPECT_EQ(hits(*plan, 2).size(), 1u);
}

// The prefix is on rank 0, and its next owner too would be rank 0, which has one page to spare.
TEST(StepPlannerTest, WhereThePagesDoNotSuitThePrefixIsComputedAgain) {
  PlannerOptions options = two_ranks();
  options.chunk_tokens = 64;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit(named(0, 5, 1)));
  run_out(planner);
  RequestShape other = named(1, 17, 1);
  other.names.clear();
  ASSERT_TRUE(planner.submit(other));
  ASSERT_TRUE(planner.submit(named(2, 9, 1)));
  const auto plan = planner.next();
  EXPECT_EQ(hits(*plan, 2), Hits{});
  ASSERT_EQ(plan->prefill.size(), 2u);
  EXPECT_THAT(told_owners(*plan, 2), ElementsAre(1, 0, 1));
  EXPECT_THAT(told_owners(*plan, 1), ElementsAre(0, 1, 0, 1, 0));
}

TEST(StepPlannerTest, OnTheFewestRanksARequestStaysWhereItsPrefixIs) {
  PlannerOptions options = roomy();
  options.keep = Retention::kFewest;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 5, .prompt_tokens = 9, .max_new = 40}));
  ASSERT_TRUE(planner.submit(named(0, 9, 2)));  // on rank 1, which has most to spare
  const auto first = planner.next();
  EXPECT_THAT(told_owners(*first, 0), ElementsAre(1, 1, 1));
  planner.completed({{0, 9}, {5, 9}});
  planner.end(5);
  (void)planner.next();
  ASSERT_TRUE(planner.submit(named(1, 20, 2)));
  const auto second = planner.next();
  EXPECT_EQ(hits(*second, 1), (Hits{{0, 1}, {1, 1}}));
  EXPECT_THAT(told_owners(*second, 1), ElementsAre(1, 1, 1, 1, 1));
}

/// Of the requests that begin with the next step, behind `hit` pages, how many have their last page
/// on each rank, which writes their answers.
std::map<int, int> writers(StepPlanner& planner, std::int64_t hit) {
  const auto plan = planner.next();
  std::map<int, int> count;
  for (const PrefillChunk& chunk : plan->prefill) {
    EXPECT_EQ(std::ssize(hits(*plan, chunk.request)), hit) << chunk.request;
    ++count[told_owners(*plan, chunk.request).back()];
  }
  return count;
}

PlannerOptions many_at_once(int ranks, Retention keep) {
  PlannerOptions options{.page_tokens = 4, .keep = keep, .chunk_tokens = 1024, .max_chunks = 64};
  for (int rank = 0; rank < ranks; ++rank) options.group.push_back(rank);
  options.capacity.assign(ranks, 512);
  return options;
}

// One page, as of a chat's header, is on one rank; the answers behind it are written by all.
TEST(StepPlannerTest, ShortRequestsWithACommonPageAreSpreadOverTheRanks) {
  for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
    for (int ranks : {1, 2, 3, 4}) {
      StepPlanner planner(many_at_once(ranks, keep));
      ASSERT_TRUE(planner.submit(named(0, 5, 1)));
      run_out(planner);
      for (RequestId id = 1; id <= 4 * ranks; ++id) ASSERT_TRUE(planner.submit(named(id, 8, 1)));
      const std::map<int, int> count = writers(planner, 1);
      ASSERT_EQ(std::ssize(count), ranks);
      for (const auto& [rank, answers] : count) EXPECT_EQ(answers, 4) << rank << " of " << ranks;
    }
  }
}

// Questions about one document. It is read where it lies; on the fewest ranks its answers are
// written there too, where almost all of their keys are, and where pages are spread by all.
TEST(StepPlannerTest, ALongHitStaysWhereItIs) {
  for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
    StepPlanner planner(many_at_once(3, keep));
    ASSERT_TRUE(planner.submit(named(0, 37, 9)));
    run_out(planner);
    for (RequestId id = 1; id <= 6; ++id) ASSERT_TRUE(planner.submit(named(id, 40, 9)));
    const std::map<int, int> count = writers(planner, 9);
    if (keep == Retention::kFewest) {
      EXPECT_THAT(count, ElementsAre(std::pair(0, 6)));
    } else {
      EXPECT_THAT(count, ElementsAre(std::pair(0, 2), std::pair(1, 2), std::pair(2, 2)));
    }
  }
}

// What is of others weighs nothing only as long as it is theirs.
TEST(StepPlannerTest, APageThatManyShareIsNobodysWorkOnceTheyHaveLeft) {
  StepPlanner planner(many_at_once(2, Retention::kSpread));
  ASSERT_TRUE(planner.submit(named(0, 5, 1)));
  run_out(planner);
  for (RequestId id = 1; id <= 6; ++id) ASSERT_TRUE(planner.submit(named(id, 8, 1)));
  run_out(planner);
  for (RequestId id = 7; id <= 8; ++id) ASSERT_TRUE(planner.submit(named(id, 4, 0)));
  EXPECT_THAT(writers(planner, 0), ElementsAre(std::pair(0, 1), std::pair(1, 1)));
}

// Page 0 leaves rank 0 with the step in which another request begins behind it.
TEST(StepPlannerTest, WhoBeginsFindsAPageWhereItMoves) {
  PlannerOptions options = roomy();
  options.headroom = 1;
  StepPlanner planner(options);
  RequestShape first = named(0, 13, 3);
  first.max_new = 9;
  ASSERT_TRUE(planner.submit(first));
  (void)planner.next();
  planner.completed({{0, 9}});
  ASSERT_TRUE(planner.move(0, 0, 1));
  ASSERT_TRUE(planner.submit(named(1, 14, 3)));
  const auto plan = planner.next();
  ASSERT_EQ(plan->moves.size(), 1u);
  EXPECT_EQ(hits(*plan, 1), (Hits{{0, 1}, {1, 1}, {2, 0}}));
  EXPECT_EQ(plan->grants.at(0).at, plan->moves[0].to);
  planner.completed({{0, 9}, {1, 9}});
  EXPECT_FALSE(planner.move(0, 3, 1)) << "not full";
  EXPECT_EQ(planner.ledger().check(), std::nullopt);
}

TEST(StepPlannerTest, APageOfTwoStaysWhereItIs) {
  PlannerOptions options = roomy();
  options.headroom = 1;
  StepPlanner planner(options);
  for (RequestId id : {0, 1}) {
    RequestShape shape = named(id, 13, 3);
    shape.max_new = 9;
    ASSERT_TRUE(planner.submit(shape));
    const auto plan = planner.next();
    planner.completed(id == 0 ? std::vector<SampledToken>{{0, 9}}
                              : std::vector<SampledToken>{{0, 9}, {1, 9}});
  }
  EXPECT_FALSE(planner.move(0, 0, 1));
  planner.abort(1);
  EXPECT_TRUE(planner.move(0, 0, 1));
}

/// `count` requests of one prompt, of ids 0, 1, ...
void submit_alike(StepPlanner& planner, int count, std::int64_t tokens, std::int64_t max_new) {
  for (RequestId id = 0; id < count; ++id) {
    RequestShape shape{.id = id, .prompt_tokens = tokens, .max_new = max_new};
    if (id > 0) shape.like = 0;
    ASSERT_TRUE(planner.submit(shape));
  }
}

/// Steps until all that decode have their last token.
void decode_to_the_end(StepPlanner& planner) {
  while (const auto plan = planner.next()) {
    std::vector<SampledToken> sampled;
    for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, 9});
    planner.completed(sampled);
  }
}

TEST(StepPlannerTest, OnePromptIsReadForAllItsForksAndEachCopiesAPageAtMost) {
  for (const auto& [tokens, copied] : {std::pair{10, 2}, {8, 0}, {3, 3}}) {
    StepPlanner planner(roomy());
    submit_alike(planner, 3, tokens, 6);
    const auto first = planner.next();
    ASSERT_EQ(first->prefill.size(), 1u);
    EXPECT_THAT(first->prefill[0].forks, ElementsAre(1, 2));
    EXPECT_TRUE(first->forks.empty());
    planner.completed({{0, 5}, {1, 6}, {2, 7}});
    const auto second = planner.next();
    ASSERT_EQ(second->forks.size(), 2u);
    ASSERT_EQ(second->decode.size(), 3u);
    int copies = 0;
    for (const GrantedPage& page : second->grants) {
      EXPECT_EQ(page.page, tokens / 4) << "full pages are shared, and nobody is told of them again";
      EXPECT_FALSE(page.filled);
      EXPECT_EQ(page.copied, page.request == 0 ? 0 : copied);
      EXPECT_TRUE(page.copied == 0 || page.at.owner == planner.ledger().pages(0).back().owner);
      ++copies;
    }
    EXPECT_EQ(copies, copied > 0 ? 2 : 3);
    for (const DecodeStep& row : second->decode) {
      EXPECT_EQ(row.position, tokens);
      EXPECT_EQ(row.token, 5 + row.request);
    }
    planner.completed({{0, 8}, {1, 8}, {2, 8}});
    const PageCounts& counts = planner.ledger().counts();
    EXPECT_EQ(counts.at(PageState::kLive), tokens / 4 + 3);
    EXPECT_EQ(planner.ledger().check(), std::nullopt);
    decode_to_the_end(planner);
    EXPECT_EQ(planner.ledger().promise().promised, 0);
  }
}

TEST(StepPlannerTest, WhoDoesNotFitBesideAPromptOfItsOwnIsNoFork) {
  PlannerOptions options = two_ranks();
  options.chunk_tokens = 64;
  StepPlanner planner(options);
  // 3 pages each, of which the first two are shared; the third is of rank 0, which has 4 in all.
  submit_alike(planner, 4, 9, 4);
  EXPECT_THAT(planner.next()->prefill.at(0).forks, ElementsAre(1, 2));
  planner.completed({{0, 5}, {1, 5}, {2, 5}});
  EXPECT_EQ(planner.next()->decode.size(), 3u);
  EXPECT_EQ(planner.waiting(), 1);
  planner.end(0);
  planner.completed({{1, 5}, {2, 5}});
  const auto plan = planner.next();
  ASSERT_EQ(plan->prefill.size(), 1u);
  EXPECT_EQ(plan->prefill[0].request, 3);
  EXPECT_EQ(plan->prefill[0].first, 0);
}

// Ranks have not heard of the forks, and would forget the parent whose pages these share.
TEST(StepPlannerTest, NothingIsRestoredBetweenAForkAndThePlanThatTellsOfIt) {
  StepPlanner planner(roomy());
  submit_alike(planner, 2, 10, 6);
  (void)planner.next();
  planner.completed({{0, 5}, {1, 6}});
  planner.end(0);
  EXPECT_FALSE(planner.restore({.id = 5, .prompt_tokens = 3, .room = 8}));
  EXPECT_THAT(planner.next()->finished, ElementsAre(0));
  planner.completed({{1, 6}});
  EXPECT_TRUE(planner.restore({.id = 5, .prompt_tokens = 3, .room = 8}));
}

// Their step is under way; the ledger hears of them when it is done.
TEST(StepPlannerTest, WhatForksAreToHaveIsNotLent) {
  StepPlanner planner(
      {.group = {0}, .capacity = {8}, .page_tokens = 4, .chunk_tokens = 64, .headroom = 2});
  const RequestShape cached = named(0, 20, 5);
  ASSERT_TRUE(planner.submit(cached));
  run_out(planner);
  submit_alike(planner, 2, 5, 4);
  ASSERT_EQ(planner.next()->prefill.at(0).forks.size(), 1u);
  const std::int64_t pages = planner.lendable(cached.names, 0);
  EXPECT_EQ(pages, 3) << "6 less the 2 of the first and the 1 that its fork has beside it";
  (void)planner.lend(std::span(cached.names).first(pages), 0);
  planner.completed({{0, 5}, {1, 5}});
  EXPECT_EQ(planner.next()->decode.size(), 2u);
}

// In the middle of the step that samples for the forks, and right behind it.
TEST(StepPlannerTest, AForkOutlivesItsParent) {
  for (bool within_the_step : {false, true}) {
    StepPlanner planner(roomy());
    submit_alike(planner, 3, 10, 6);
    (void)planner.next();
    if (within_the_step) planner.end(0);
    planner.completed({{0, 5}, {1, 6}, {2, 7}});
    if (!within_the_step) planner.end(0);
    planner.abort(2);
    const auto plan = planner.next();
    ASSERT_EQ(plan->forks.size(), 1u);
    EXPECT_EQ(plan->forks[0].to, 1);
    EXPECT_THAT(plan->finished, ElementsAre(0, 2));
    ASSERT_EQ(plan->decode.size(), 1u);
    planner.completed({{1, 8}});
    EXPECT_EQ(planner.ledger().check(), std::nullopt);
    decode_to_the_end(planner);
    EXPECT_EQ(planner.ledger().counts().in_use(), 0);
  }
}

// Each alone needs 9 of 12 pages, and 8 of them are the document's.
TEST(StepPlannerTest, QuestionsAboutOneDocumentArePromisedItOnce) {
  PlannerOptions options = two_ranks();
  options.capacity = {6, 6};
  options.chunk_tokens = 64;
  StepPlanner planner(options);
  const auto submit = [&](RequestId id) {
    RequestShape question = named(id, 33, 8);
    question.max_new = 4;
    return planner.submit(question);
  };
  ASSERT_TRUE(submit(0));
  (void)planner.next();
  planner.completed({{0, 9}});
  for (RequestId id = 1; id <= 4; ++id) ASSERT_TRUE(submit(id));
  const auto plan = planner.next();
  for (RequestId id = 1; id <= 3; ++id) EXPECT_EQ(hits(*plan, id).size(), 8u);
  EXPECT_EQ(planner.waiting(), 1);
  EXPECT_THAT(planner.unpromised(), ElementsAre(0, 0));
  planner.completed({{0, 9}, {1, 9}, {2, 9}, {3, 9}});
  planner.end(0);
  EXPECT_EQ(planner.unpromised()[0] + planner.unpromised()[1], 1) << "the others have the rest";
  EXPECT_EQ(hits(*planner.next(), 4).size(), 8u);
}

/// One step in which all that decode sample `token`, and whose prompts end too.
std::optional<StepPlan> step_with(StepPlanner& planner, std::int32_t token = 9) {
  auto plan = planner.next();
  if (!plan) return plan;
  std::vector<SampledToken> sampled;
  for (const PrefillChunk& chunk : plan->prefill) {
    if (chunk.samples) sampled.push_back({chunk.request, token});
    for (const RequestId fork : chunk.forks) sampled.push_back({fork, token});
  }
  for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, token});
  planner.completed(sampled);
  return plan;
}

/// 8 pages of 4 tokens on one rank; an answer without a limit is promised 4 tokens at a time.
PlannerOptions tight() {
  return {.group = {0},
          .capacity = {8},
          .page_tokens = 4,
          .chunk_tokens = 64,
          .answer_part = 4,
          .open_answer_part = 4};
}

RequestShape open_ended(RequestId id, std::int64_t tokens, std::int64_t max_new) {
  return {
      .id = id, .prompt_tokens = tokens, .max_new = max_new, .names_limit = false, .arrival = id};
}

TEST(StepPlannerTest, AnAnswerWithoutALimitIsPromisedAPartAtATime) {
  StepPlanner planner(tight());
  ASSERT_TRUE(planner.submit(open_ended(0, 4, 28)));
  EXPECT_FALSE(planner.submit(open_ended(1, 4, 30))) << "it could not run alone";
  const auto first = step_with(planner);
  EXPECT_EQ(told_owners(*first, 0).size(), 8u) << "of all that it may come to need";
  EXPECT_EQ(planner.ledger().promise().promised, 2);
  for (int token = 1; token <= 4; ++token) (void)step_with(planner);
  EXPECT_EQ(planner.ledger().promise().promised, 2) << "positions 4 to 7";
  (void)step_with(planner);
  EXPECT_EQ(planner.ledger().promise().promised, 3);
  // One that names its limit is promised all, and takes what the other will ask for.
  ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 4, .max_new = 17, .arrival = 2}));
  (void)step_with(planner);
  EXPECT_EQ(planner.ledger().promise().promised, 8);
  EXPECT_EQ(planner.preemptions(), 0);
}

// Both have two pages, and a third one needs the rest. The younger of the two goes back with what
// it has written; when there is room again that is read, nothing is sampled behind it, and it goes
// on.
TEST(StepPlannerTest, TheYoungestWithoutALimitGoesBackAndGoesOnWhereItWas) {
  for (const bool replays : {false, true}) {
    PlannerOptions options = tight();
    options.replays_answers = replays;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit(open_ended(0, 4, 20)));
    ASSERT_TRUE(planner.submit(open_ended(1, 4, 20)));
    ASSERT_TRUE(planner.submit({.id = 2, .prompt_tokens = 13, .max_new = 4, .arrival = 2}));
    EXPECT_EQ(step_with(planner, 10)->prefill.size(), 3u);
    for (int token = 11; token < 15; ++token) (void)step_with(planner, token);
    EXPECT_EQ(planner.running(), 2) << "2 has left, and its 4 pages with it";
    ASSERT_TRUE(planner.submit({.id = 3, .prompt_tokens = 13, .max_new = 4, .arrival = 3}));
    const auto starts = step_with(planner, 15);  // 0 and 1 have grown by a page each
    EXPECT_TRUE(starts->preempted.empty());
    EXPECT_EQ(starts->decode.size(), 2u);
    EXPECT_FALSE(planner.ledger().runs(3)) << "there are 2 pages left";
    ASSERT_TRUE(planner.submit({.id = 4, .prompt_tokens = 2, .max_new = 6, .arrival = 4}));
    planner.abort(3);
    (void)step_with(planner, 16);  // 4 takes the last two
    ASSERT_TRUE(planner.ledger().runs(4));
    while (planner.preemptions() == 0) {
      const auto plan = step_with(planner, 17);
      ASSERT_TRUE(plan);
      if (planner.preemptions() == 0) continue;
      EXPECT_THAT(plan->preempted, ElementsAre(1));
      EXPECT_TRUE(plan->prefill.empty()) << "nothing starts in a step in which somebody gave way";
    }
    EXPECT_TRUE(planner.ledger().runs(0) && planner.ledger().runs(4));
    const PlannerState state = planner.state();
    EXPECT_EQ(state.preemptions, 1);
    const auto waits = std::ranges::find(state.requests, 1, &RequestState::id);
    EXPECT_EQ(waits->phase, RequestPhase::kWaiting);
    EXPECT_EQ(waits->preempted, 1);
    EXPECT_EQ(waits->sampled, 9);
    EXPECT_EQ(planner.waiting_tokens(), replays ? 4 : 12);
    EXPECT_EQ(std::ssize(planner.read_again(1)), replays ? 0 : 8);
    planner.abort(0);
    planner.abort(4);
    const auto again = step_with(planner, 18);
    ASSERT_EQ(again->prefill.size(), 1u);
    EXPECT_EQ(again->prefill[0].count, replays ? 4 : 12);
    EXPECT_FALSE(again->prefill[0].samples);
    if (replays) {
      for (int position = 4; position < 12; ++position) {
        const auto row = step_with(planner, 99);
        EXPECT_THAT(row->known, ElementsAre(1)) << position;
        EXPECT_EQ(row->decode.at(0).token, std::min(6 + position, 17)) << position;
      }
    }
    const auto goes_on = step_with(planner, 19);
    EXPECT_TRUE(goes_on->known.empty());
    EXPECT_EQ(goes_on->decode.at(0).position, 12);
    EXPECT_EQ(goes_on->decode[0].token, 17);
    EXPECT_EQ(planner.ledger().check(), std::nullopt);
  }
}

// It is the older one without a limit that needs a page more than there is: the other has all, or
// could give some back.
TEST(StepPlannerTest, WhoNamedALimitPaysForNobodyWithoutOne) {
  for (const auto& [mode, without, with] :
       {std::tuple{MemoryMode::kNoEvict, 8, 4}, {MemoryMode::kUtilize, 4, 12}}) {
    PlannerOptions options = tight();
    options.memory = mode;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit(open_ended(0, without, 20)));
    ASSERT_TRUE(planner.submit({.id = 1, .prompt_tokens = with, .max_new = 16, .arrival = 1}));
    std::set<RequestId> went_back;
    while (const auto plan = step_with(planner)) {
      went_back.insert(plan->preempted.begin(), plan->preempted.end());
    }
    EXPECT_THAT(went_back, ElementsAre(0)) << "though it was there first";
  }
}

TEST(StepPlannerTest, UnderUtilizeMoreStartAndTheYoungestGivesWay) {
  for (const auto& [mode, at_once] :
       {std::pair{MemoryMode::kNoEvict, 1}, {MemoryMode::kUtilize, 4}}) {
    PlannerOptions options = tight();
    options.memory = mode;
    StepPlanner planner(options);
    for (RequestId id = 0; id < 4; ++id) {
      ASSERT_TRUE(planner.submit({.id = id, .prompt_tokens = 4, .max_new = 20, .arrival = id}));
    }
    EXPECT_EQ(std::ssize(step_with(planner)->prefill), at_once);
    std::vector<RequestId> went_back;
    while (const auto plan = step_with(planner)) {
      went_back.insert(went_back.end(), plan->preempted.begin(), plan->preempted.end());
      ASSERT_EQ(planner.ledger().check(), std::nullopt);
    }
    EXPECT_EQ(std::ranges::count(went_back, 0), 0) << "the oldest goes on";
    EXPECT_EQ(!went_back.empty(), mode == MemoryMode::kUtilize);
    EXPECT_EQ(planner.ledger().promise().promised, 0);
  }
}

// Beside a conversation that rests there are 5 pages: nobody else gives way, and none may start. It
// is told to the ranks with the step in which it starts again.
TEST(StepPlannerTest, WhoGoesBackAloneWaitsUntilThereIsRoomAndIsToldThen) {
  StepPlanner planner(tight());
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 2, .max_new = 1, .room = 13}));
  (void)step_with(planner);
  ASSERT_TRUE(planner.holds(0));
  ASSERT_TRUE(planner.submit(open_ended(1, 4, 28)));
  int steps = 0;
  while (step_with(planner)) ASSERT_LT(++steps, 40);
  EXPECT_EQ(steps, 17) << "20 positions";
  EXPECT_EQ(planner.preemptions(), 1);
  EXPECT_EQ(planner.running(), 0);
  EXPECT_FALSE(planner.idle());
  EXPECT_EQ(step_with(planner), std::nullopt) << "it is promised 8 tokens more now, or nothing";
  planner.abort(0);
  const auto plan = step_with(planner);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->preempted, ElementsAre(1));
  EXPECT_THAT(plan->finished, ElementsAre(0));
  EXPECT_EQ(plan->prefill.at(0).count, 20);
  EXPECT_EQ(step_with(planner)->decode.at(0).position, 20);
}

// 200 of one tenant wait, and one of another comes: before it start as many as their tenant's share
// of a round pays for, and those that run.
TEST(StepPlannerTest, OneRequestOfATenantIsNotBehindAFloodOfAnother) {
  const CostModel costs = milliseconds();
  for (const CostModel* known : {&costs, static_cast<const CostModel*>(nullptr)}) {
    PlannerOptions options = roomy();
    options.capacity = {4096, 4096};
    options.max_running = 2;
    options.chunk_tokens = 256;
    StepPlanner planner(options);
    for (RequestId id = 0; id < 200; ++id) {
      ASSERT_TRUE(planner.submit(
          {.id = id, .prompt_tokens = 97, .max_new = 4, .arrival = id, .tenant = "flood"}));
    }
    std::vector<RequestId> order;
    Nanoseconds now = 1000;
    for (int step = 0; !planner.idle(); ++step) {
      if (step == 7) {
        ASSERT_TRUE(planner.submit(
            {.id = 500, .prompt_tokens = 97, .max_new = 4, .arrival = now, .tenant = "one"}));
        order.clear();
      }
      const auto plan = planner.next(known, now += 10'000'000);
      ASSERT_TRUE(plan);
      std::vector<SampledToken> sampled;
      for (const PrefillChunk& chunk : plan->prefill) {
        if (chunk.first == 0) order.push_back(chunk.request);
        if (chunk.samples) sampled.push_back({chunk.request, 9});
      }
      for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, 9});
      planner.completed(sampled);
    }
    const auto place = std::ranges::find(order, 500) - order.begin();
    EXPECT_LE(place, TenantRounds::kShare / 100 + 1);
    EXPECT_TRUE(std::ranges::is_sorted(order.begin(), order.begin() + place));
    EXPECT_TRUE(std::ranges::is_sorted(order.begin() + place + 1, order.end()));
  }
}

TEST(StepPlannerTest, ADeadlineComesBeforeWhatIsAllowedOtherwise) {
  const CostModel costs = milliseconds();
  std::vector<RequestShape> arrivals{
      {.id = 0, .prompt_tokens = 50, .max_new = 1},
      {.id = 1, .prompt_tokens = 50, .max_new = 1, .arrival = 1, .deadline = 100'000'000}};
  for (const CostModel* known : {&costs, static_cast<const CostModel*>(nullptr)}) {
    EXPECT_THAT(starts(arrivals, 10'000'000, known), ElementsAre(1, 0));
  }
  arrivals[1].deadline.reset();
  EXPECT_THAT(starts(arrivals, 10'000'000, &costs), ElementsAre(0, 1));
}

// Of tenants that nobody waits for one request starts now and then beside those of others.
TEST(StepPlannerTest, ABatchIsPassedByOtherTenantsSoManyTimesAtMost) {
  const CostModel costs = milliseconds();
  std::vector<RequestShape> arrivals;
  for (RequestId id = 0; id < 2; ++id) {
    arrivals.push_back({.id = id,
                        .prompt_tokens = 50,
                        .max_new = 1,
                        .urgency = Urgency::kBatch,
                        .tenant = "batch"});
  }
  for (RequestId id = 2; id <= 9; ++id) {
    arrivals.push_back(
        {.id = id, .prompt_tokens = 50, .max_new = 1, .arrival = id, .tenant = "people"});
  }
  EXPECT_THAT(starts(arrivals, 10, &costs, 3), ElementsAre(2, 3, 4, 0, 5, 6, 7, 1, 8, 9));
}

/// `id`, to the prompt of `before`.
RequestShape another_answer(RequestShape before, RequestId id) {
  if (!before.like) before.like = before.id;
  before.id = id;
  return before;
}

/// Conversations that are begun, taken up, held and go on from any position, and requests that come
/// and end between any two calls; all by the places that they take.
class RandomConversations {
 public:
  explicit RandomConversations(int seed) : random_(seed), planner_(random_options()) {}

  void run() {
    while (next_ < kRequests || !planner_.idle() || planner_.held() > 0) {
      ASSERT_LT(++calls_, 5000) << "somebody never ends";
      change_something();
      test::expect_all_places(planner_, nullptr);
      const auto plan = planner_.next(nullptr, calls_);
      if (!plan) continue;
      test::expect_all_places(planner_, &*plan);
      if (below(6) == 0) planner_.abort(below(kRequests));
      std::vector<SampledToken> sampled;
      for (const PrefillChunk& chunk : plan->prefill) {
        if (!chunk.samples) continue;
        sampled.push_back({chunk.request, below(20)});
        for (const RequestId fork : chunk.forks) sampled.push_back({fork, below(20)});
      }
      for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, below(20)});
      planner_.completed(sampled);
      ASSERT_EQ(planner_.ledger().check(), std::nullopt);
      ASSERT_EQ(violation(planner_.state()), std::nullopt);
    }
    EXPECT_EQ(planner_.next(), std::nullopt);
    EXPECT_THAT(planner_.unpromised(), ElementsAreArray(planner_.options().capacity));
  }

  int extended = 0, restored = 0;

 private:
  static constexpr int kRequests = 16;

  int below(int bound) { return static_cast<int>(random_() % bound); }

  PlannerOptions random_options() {
    PlannerOptions options{.page_tokens = 1 << below(4), .chunk_tokens = 1 + below(40)};
    const int ranks = 1 + below(4);
    for (int rank = 0; rank < ranks; ++rank) options.group.push_back(rank);
    options.capacity.assign(ranks, 4 + below(30));
    options.keep = below(2) ? Retention::kSpread : Retention::kFewest;
    options.layout = below(2) ? DealtBy::kFolded : DealtBy::kBlockCyclic;
    options.max_running = 2 + below(8);
    options.rounds_full_pages = below(2) == 0;
    options.replays_answers = true;
    if (below(2)) options.memory = MemoryMode::kUtilize;
    options.answer_part = 1 + below(6);
    options.open_answer_part = 1 + below(12);
    options.headroom = below(4);
    if (below(2)) {
      options.least_degree = 1;
      const auto seed = static_cast<std::uint64_t>(below(1 << 30));
      options.step_policy = [seed] { return std::make_unique<RandomElastic>(seed); };
    }
    return options;
  }

  void change_something() {
    if (next_ < kRequests && below(2)) begin(random_shape(next_++));
    if (below(6) == 0) planner_.end(below(kRequests));
    for (RequestId id = 0; id < next_; ++id) {
      if (!planner_.holds(id) || below(4) > 0) continue;
      const std::int64_t computed = planner_.computed_of_held(id);
      RequestShape longer = shapes_.at(id);
      longer.prompt_tokens = 1 + below(static_cast<int>(longer.room) - 1);
      if (next_ == kRequests && below(2)) {
        planner_.abort(id);
      } else if (planner_.extend(longer, below(static_cast<int>(computed) + 1))) {
        ++extended;
      }
    }
  }

  void begin(const RequestShape& shape) {
    shapes_[shape.id] = shape;
    if (shape.room > 0 && below(2)) {
      restored += planner_.restore(shape).has_value();
    } else {
      (void)planner_.submit(shape);
    }
  }

  /// A conversation, another answer to the prompt before, or a prompt that begins as others do.
  RequestShape random_shape(RequestId id) {
    const auto before = shapes_.find(id - 1);
    if (before != shapes_.end() && before->second.room == 0 && below(2)) {
      return another_answer(before->second, id);
    }
    RequestShape shape{.id = id,
                       .prompt_tokens = 1 + below(60),
                       .max_new = 1 + below(12),
                       .stop_tokens = {below(2) ? 3 : -1},
                       .names_limit = below(3) > 0,
                       .arrival = calls_};
    const auto pages = static_cast<std::uint64_t>(shape.prompt_tokens);
    if (below(3) == 0) {
      shape.room = shape.prompt_tokens + shape.max_new + below(30);
    } else {
      shape.names = names(10 + id, below(20), pages / planner_.options().page_tokens);
    }
    return shape;
  }

  std::mt19937 random_;
  StepPlanner planner_;
  std::map<RequestId, RequestShape> shapes_;
  RequestId next_ = 0;
  Nanoseconds calls_ = 0;
};

TEST(StepPlannerTest, RandomConversationsTakeAPlaceForEachPageAndGiveItBack) {
  int extended = 0, restored = 0;
  for (int seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomConversations job(seed);
    job.run();
    extended += job.extended;
    restored += job.restored;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(extended, 100);
  EXPECT_GT(restored, 100);
}

/// Requests that come and are aborted at any time; those of one family begin alike.
class RandomJob {
 public:
  /// `elastic`: a policy changes at every border what it can.
  RandomJob(int seed, bool elastic)
      : random_(seed), options_(random_options(elastic)), planner_(options_) {}

  void run() {
    Replay replay(options_, static_cast<int>(random_()));
    replay.name_of = [&](RequestId id, std::int64_t page) { return names_.at(id).at(page); };
    replay.prompt_of = [&](RequestId id) { return shapes_.at(id).prompt_tokens; };
    int steps = 0;
    while (submits() || !planner_.idle()) {
      ASSERT_LT(++steps, 5000) << "somebody never ends";
      if (below(12) == 0) abort(below(12));
      now_ += below(400'000'000);
      auto plan = planner_.next(below(4) == 0 ? nullptr : &costs_, now_);
      if (!plan) continue;
      ++plans_made;
      test::expect_all_places(planner_, &*plan);
      expect_pieces(*plan);
      expect_who_may_goes_back(*plan, replay);
      take_steps(*std::move(plan), replay);
      if (testing::Test::HasFatalFailure()) return;
    }
    for (const auto& [id, shape] : shapes_) {
      if (aborted_.contains(id)) continue;
      const std::vector<std::int32_t>& answer = replay.answers().at(id);
      EXPECT_EQ(replay.computed().at(id), shape.prompt_tokens + std::ssize(answer) - 1);
      const bool stopped = answer.back() == shape.stop_tokens[0];
      EXPECT_TRUE(stopped || std::ssize(answer) == shape.max_new);
      EXPECT_EQ(std::ranges::count(answer, shape.stop_tokens[0]), stopped);
    }
    EXPECT_EQ(planner_.ledger().promise().promised, 0);
    const PageCounts& counts = planner_.ledger().counts();
    EXPECT_EQ(counts.in_use(), counts.at(PageState::kCached)) << "leaked";
    EXPECT_EQ(planner_.next(), std::nullopt) << "which lets go of what was to be copied";
    EXPECT_THAT(planner_.unpromised(), ElementsAreArray(options_.capacity));
    hits = replay.hits();
    forks = replay.forks();
    preempted = replay.preempted();
    EXPECT_GE(planner_.preemptions(), preempted) << "some were aborted before ranks heard";
    moves = replay.moves();
    spilled = replay.spilled();
    fetched = replay.fetched();
    EXPECT_LE(fetched, planner_.tier_counts().fetched) << "some were aborted in the same step";
    missed = planner_.tier_counts().missed;
    changes = planner_.elastic_counts();
  }

  std::int64_t hits = 0;
  std::int64_t forks = 0;
  std::int64_t preempted = 0;
  std::int64_t moves = 0;
  std::int64_t plans_made = 0, steps_taken = 0;
  std::int64_t spilled = 0;
  std::int64_t fetched = 0;
  std::int64_t missed = 0;
  ElasticCounts changes;

 private:
  int below(int bound) { return static_cast<int>(random_() % bound); }

  /// All of a run, or as many as somebody lets it have.
  void take_steps(StepPlan plan, Replay& replay) {
    DecodeRun run = plan.run;
    EXPECT_TRUE(!run.goes_on() || run.rows.size() == plan.decode.size());
    for (bool more = true; more;) {
      ++steps_taken;
      const auto sampled = replay.apply(plan);
      planner_.note(replay.news(plan));
      planner_.completed(sampled);
      test::expect_all_places(planner_, nullptr);
      name_answers(replay);
      ASSERT_EQ(planner_.ledger().check(), std::nullopt);
      ASSERT_EQ(violation(planner_.state()), std::nullopt);
      more = run.goes_on() && step_on(plan, run, sampled) && below(8) > 0;
    }
  }

  PlannerOptions random_options(bool elastic) {
    PlannerOptions options{.page_tokens = 1 << below(4), .chunk_tokens = 1 + below(40)};
    const int ranks = 1 + below(5);
    for (int rank = 0; rank < ranks; ++rank) options.group.push_back(rank);
    options.capacity.assign(ranks, 2 + below(30));
    options.keep = below(2) ? Retention::kSpread : Retention::kFewest;
    options.max_running = 1 + below(8);
    options.hit_pages = 1 + below(3);
    options.cuts_are_fixed = below(2) == 0;
    if (below(2)) options.step_rows = 1 + below(60);
    if (below(2)) options.target = 1'000'000 * below(60);
    if (below(2)) options.memory = MemoryMode::kUtilize;
    options.answer_part = 1 + below(6);
    options.open_answer_part = 1 + below(12);
    options.replays_answers = options.cuts_are_fixed || below(2);
    options.run_steps = below(2) ? 1 + below(9) : 1;
    if (below(3) > 0) options.tier.assign(ranks, 1 + below(60));
    if (!elastic) return options;
    options.headroom = below(5);
    options.least_degree = 1;
    options.page_bytes = 1000;
    if (below(2)) options.move_bandwidth = 1000 * (1 + below(20));
    const auto seed = static_cast<std::uint64_t>(below(1 << 30));
    options.step_policy = [seed] { return std::make_unique<RandomElastic>(seed); };
    return options;
  }

  /// What moves keeps within the budget, border by border and in all.
  void expect_pieces(const StepPlan& plan) {
    if (options_.move_bandwidth == 0) return;
    const std::int64_t a_second = options_.move_bandwidth / options_.page_bytes;
    EXPECT_LE(std::ssize(plan.moves), a_second);
    moved_ += std::ssize(plan.moves);
    EXPECT_LE(moved_ * options_.page_bytes * 1'000'000'000,
              now_ * options_.move_bandwidth + options_.page_bytes * 1'000'000'000);
  }

  /// Whether there is more to come: some come before a step.
  bool submits() {
    for (; next_ < 12 && below(2) == 0; ++next_) {
      const RequestShape shape = random_shape(next_);
      if (planner_.submit(shape)) {
        shapes_[next_] = shape;
        names_[next_] = shape.names;
      }
    }
    return next_ < 12;
  }

  /// Some are of the prompt of the one before.
  RequestShape random_shape(RequestId id) {
    if (const auto before = shapes_.find(id - 1); before != shapes_.end() && below(3) == 0) {
      return another_answer(before->second, id);
    }
    RequestShape shape{.id = id,
                       .prompt_tokens = 1 + below(60),
                       .max_new = 1 + below(12),
                       .stop_tokens = {below(2) ? 3 : -1},
                       .names_limit = below(3) > 0,
                       .arrival = now_,
                       .urgency = below(3) ? Urgency::kInteractive : Urgency::kBatch,
                       .tenant = below(2) ? "a" : "b"};
    if (below(4) == 0) shape.max_new += below(60);
    if (below(6) == 0) shape.deadline = now_ + below(400'000'000);
    const auto pages = static_cast<std::uint64_t>(shape.prompt_tokens / options_.page_tokens);
    if (below(4) > 0) shape.names = names(10 + id, below(8), pages);
    // Or it is a prompt that was there before, and may have been evicted since.
    const auto again = shapes_.find(below(static_cast<int>(id) + 1));
    if (!options_.tier.empty() && again != shapes_.end() && below(2)) {
      shape.prompt_tokens = again->second.prompt_tokens;
      shape.names = again->second.names;
    }
    return shape;
  }

  /// No limit was named, or limits are not kept; and no more often than the part of its answer that
  /// it is promised can double.
  void expect_who_may_goes_back(const StepPlan& plan, const Replay& replay) {
    for (const RequestId id : plan.preempted) {
      if (replay.has_missed(id)) continue;
      const RequestShape& shape = shapes_.at(id);
      EXPECT_TRUE(!shape.names_limit || options_.memory == MemoryMode::kUtilize) << id;
      EXPECT_LE(++went_back_[id], 8) << "of " << shape.max_new << " tokens";
    }
  }

  void abort(RequestId id) {
    planner_.abort(id);
    aborted_.insert(id);
  }

  /// Where what was decoded is what a prompt would be.
  void name_answers(const Replay& replay) {
    if (options_.replays_answers) return;
    for (const auto& [id, answer] : replay.answers()) {
      const RequestShape& shape = shapes_.at(id);
      std::vector<PageHash>& known = names_.at(id);
      if (shape.names.empty()) continue;
      const std::int64_t pages =
          (shape.prompt_tokens + std::ssize(answer)) / options_.page_tokens - std::ssize(known);
      if (pages <= 0 || !planner_.ledger().runs(id)) continue;
      std::vector<PageHash> more;
      for (std::int64_t i = 0; i < pages; ++i) {
        more.push_back({static_cast<std::uint64_t>(10 + id), std::size(known) + 1});
        known.push_back(more.back());
      }
      planner_.name_more(id, more);
    }
  }

  std::mt19937 random_;
  const CostModel costs_ = milliseconds();
  PlannerOptions options_;
  StepPlanner planner_;
  std::map<RequestId, RequestShape> shapes_;
  std::map<RequestId, std::vector<PageHash>> names_;  // of answers too
  std::map<RequestId, int> went_back_;
  std::set<RequestId> aborted_;
  RequestId next_ = 0;
  Nanoseconds now_ = 0;
  std::int64_t moved_ = 0;  // pages
};

TEST(StepPlannerTest, RandomJobsEndWithEveryTokenComputedAndNoRankOverCommitted) {
  std::int64_t hits = 0, forks = 0, preempted = 0, steps = 0, plans = 0;
  std::int64_t spilled = 0, fetched = 0, missed = 0;
  for (int seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    RandomJob job(seed, false);
    job.run();
    hits += job.hits;
    forks += job.forks;
    preempted += job.preempted;
    steps += job.steps_taken;
    plans += job.plans_made;
    spilled += job.spilled;
    fetched += job.fetched;
    missed += job.missed;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(hits, 200);
  EXPECT_GT(forks, 40);
  EXPECT_GT(preempted, 80);
  EXPECT_GT(steps, plans + 2000) << "of runs";
  EXPECT_GT(spilled, 400);
  EXPECT_GT(fetched, 50);
  EXPECT_GT(missed, 10);
}

// The same where degrees, orders, owners and places of pages change at every border.
TEST(StepPlannerTest, RandomElasticJobsToo) {
  std::int64_t hits = 0, forks = 0, moves = 0, regroups = 0, redraws = 0;
  for (int seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    RandomJob job(seed, true);
    job.run();
    EXPECT_EQ(job.moves, job.changes.moves);
    hits += job.hits;
    forks += job.forks;
    moves += job.moves;
    regroups += job.changes.regroups;
    redraws += job.changes.redraws;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(hits, 200);
  EXPECT_GT(forks, 40);
  EXPECT_GT(moves, 400);
  EXPECT_GT(regroups, 1000);
  EXPECT_GT(redraws, 4000);
}

}  // namespace
}  // namespace longspan

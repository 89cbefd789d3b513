// For how many steps a plan holds, and what the steps of a run are.
#include <gmock/gmock.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "scheduler/decode_run.h"
#include "scheduler/policies/random_elastic.h"
#include "scheduler/step_planner.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// Two ranks, pages of 4 tokens, and runs of as many steps.
PlannerOptions settled() {
  return {.group = {0, 1},
          .capacity = {16, 16},
          .page_tokens = 4,
          .chunk_tokens = 64,
          .run_steps = 100};
}

/// What all rows of a plan sample: `token`; chunks that end a prompt too.
std::vector<SampledToken> all_sample(const StepPlan& plan, std::int32_t token) {
  std::vector<SampledToken> sampled;
  for (const PrefillChunk& chunk : plan.prefill) {
    if (chunk.samples) sampled.push_back({chunk.request, token});
    for (const RequestId fork : chunk.forks) sampled.push_back({fork, token});
  }
  for (const DecodeStep& row : plan.decode) sampled.push_back({row.request, token});
  return sampled;
}

/// Does a plan and all of its run; the steps it had.
int run(StepPlanner& planner, StepPlan plan, std::int32_t token = 9) {
  DecodeRun run = plan.run;
  for (int steps = 1;; ++steps) {
    const auto sampled = all_sample(plan, token);
    planner.completed(sampled);
    if (!run.goes_on() || !step_on(plan, run, sampled)) return steps;
  }
}

/// A planner whose requests, of these prompts, decode.
StepPlanner decoding(const std::vector<std::int64_t>& prompts, std::int64_t max_new,
                     PlannerOptions options = settled()) {
  StepPlanner planner(std::move(options));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_TRUE(planner.submit({.id = static_cast<RequestId>(i),
                                .prompt_tokens = prompts[i],
                                .max_new = max_new,
                                .stop_tokens = {3}}));
  }
  const auto plan = planner.next();
  EXPECT_EQ(plan->run.steps, 1) << "a prompt is read";
  planner.completed(all_sample(*plan, 9));
  return planner;
}

TEST(StepPlannerRunTest, AnAnswerCostsAPlanForEachPage) {
  StepPlanner planner = decoding({4}, 23);  // positions 4 to 25
  for (const int steps : {4, 4, 4, 4, 4, 2}) {
    const auto plan = planner.next();
    EXPECT_EQ(plan->grants.size(), 1u);
    EXPECT_FALSE(plan->run.until_one_ends);
    EXPECT_EQ(run(planner, *plan), steps);
  }
  EXPECT_EQ(planner.next(), std::nullopt);
}

// Page 1 is rank 1's, page 2 rank 0's; the run of the second request ends on its own page.
TEST(StepPlannerRunTest, ItsPagesAreGrantedAheadAndItsMastersFollow) {
  StepPlanner planner = decoding({6, 4}, 4);
  StepPlan plan = *planner.next();
  EXPECT_THAT(plan.group, ElementsAre(0, 1));
  ASSERT_EQ(plan.run.steps, 3);
  ASSERT_EQ(plan.grants.size(), 2u) << "a page is behind the first one's two, and one is begun";
  const int owner = planner.owners(0)[2];
  DecodeRun run = std::exchange(plan.run, {});
  const std::uint64_t epoch = plan.epoch;
  for (const int position : {6, 7, 8}) {
    EXPECT_EQ(plan.decode.at(0).position, position);
    EXPECT_EQ(plan.decode[0].token, position == 6 ? 9 : 10);
    EXPECT_EQ(plan.decode[0].master, planner.owners(0)[position / 4]);
    EXPECT_EQ(plan.decode.at(1).position, position - 2);
    EXPECT_EQ(plan.epoch, epoch + position - 6);
    const auto sampled = all_sample(plan, 10);
    planner.completed(sampled);
    EXPECT_EQ(step_on(plan, run, sampled), position < 8);
    EXPECT_THAT(plan.grants, IsEmpty());
    if (position == 7) {
      EXPECT_EQ(plan.decode.at(0).master, owner);
    }
  }
  EXPECT_EQ(planner.running(), 0);
  const auto next = planner.next();
  EXPECT_EQ(next, std::nullopt);
  EXPECT_EQ(planner.state().epoch, epoch + 2) << "of the last step";
}

TEST(StepPlannerRunTest, WhoEndsLeavesTheRunToTheOthers) {
  StepPlanner planner = decoding({4, 5, 6}, 20);
  StepPlan plan = *planner.next();
  DecodeRun run = std::exchange(plan.run, {});
  std::vector<SampledToken> sampled{{0, 9}, {1, 3}, {2, 9}};
  EXPECT_THAT(planner.completed(sampled), ElementsAre(1));
  EXPECT_TRUE(step_on(plan, run, sampled));
  ASSERT_EQ(plan.decode.size(), 2u);
  EXPECT_EQ(plan.decode[1].request, 2);
  EXPECT_EQ(plan.decode[1].position, 7);
  sampled = {{2, 3}, {0, 3}};
  EXPECT_THAT(planner.completed(sampled), ElementsAre(2, 0));
  EXPECT_FALSE(step_on(plan, run, sampled)) << "nobody is left";
}

TEST(StepPlannerRunTest, AStepFollowsOnlyFromWhatAllRowsSampled) {
  StepPlanner planner = decoding({4, 5}, 20);
  StepPlan plan = *planner.next();
  DecodeRun run = std::exchange(plan.run, {});
  const std::vector<SampledToken> one{{0, 9}};
  EXPECT_THROW((void)step_on(plan, run, one), std::logic_error);
}

// A run that somebody breaks into is over with the next plan, which goes on where it was.
TEST(StepPlannerRunTest, APlanMayComeAtAnyStepOfARun) {
  StepPlanner planner = decoding({4}, 20);
  for (const int position : {4, 5, 6, 7, 8}) {
    const auto plan = planner.next();
    EXPECT_EQ(plan->decode.at(0).position, position);
    EXPECT_EQ(plan->grants.size(), position == 4 || position == 5 ? 1u : 0u) << "granted before";
    planner.completed(all_sample(*plan, 9));
    ASSERT_EQ(planner.ledger().check(), std::nullopt);
  }
  planner.end(0);
  (void)planner.next();
  EXPECT_EQ(planner.ledger().counts().in_use(), 0);
}

// The third waits for a place: the plan says to stop when there is one.
TEST(StepPlannerRunTest, WhereSomebodyWaitsARunEndsWithTheFirstWhoEnds) {
  PlannerOptions options = settled();
  options.max_running = 2;
  StepPlanner planner = decoding({4, 5}, 20, options);
  ASSERT_TRUE(planner.submit({.id = 7, .prompt_tokens = 3, .max_new = 2}));
  StepPlan plan = *planner.next();
  EXPECT_TRUE(plan.run.until_one_ends);
  DecodeRun run = std::exchange(plan.run, {});
  std::vector<SampledToken> sampled = all_sample(plan, 9);
  planner.completed(sampled);
  ASSERT_TRUE(step_on(plan, run, sampled));
  sampled[1].token = 3;
  planner.completed(sampled);
  EXPECT_FALSE(step_on(plan, run, sampled));
  EXPECT_EQ(planner.next()->prefill.at(0).request, 7);
}

TEST(StepPlannerRunTest, WhoIsPromisedAPartRunsAsFarAsThat) {
  PlannerOptions options = settled();
  options.page_tokens = 16;
  options.open_answer_part = 5;
  StepPlanner planner(options);
  ASSERT_TRUE(planner.submit({.id = 0, .prompt_tokens = 30, .max_new = 60, .names_limit = false}));
  planner.completed(all_sample(*planner.next(), 9));
  // 48 positions, of which 30 are the prompt's, and then a page more.
  for (const int steps : {16, 2, 16}) EXPECT_EQ(run(planner, *planner.next()), steps);
}

TEST(StepPlannerRunTest, WhatMustBeToldOrAskedBeforeEachStepHasAPlanForEach) {
  {
    PlannerOptions options = settled();
    options.step_policy = [] { return std::make_unique<RandomElastic>(1); };
    options.least_degree = 1;
    StepPlanner planner = decoding({4}, 9, options);
    EXPECT_EQ(planner.next()->run.steps, 1);
  }
  {
    StepPlanner planner = decoding({4}, 9);
    ASSERT_TRUE(planner.submit({.id = 5, .prompt_tokens = 9, .max_new = 3}));
    ASSERT_TRUE(planner.submit({.id = 6, .prompt_tokens = 9, .max_new = 3, .like = 5}));
    for (const int steps : {1, 1, 2}) {  // a prompt, a copy for its fork, and then nothing
      const auto plan = planner.next();
      EXPECT_EQ(plan->run.steps, steps == 2 ? 4 : 1);
      EXPECT_EQ(plan->forks.size(), plan->epoch == 3 ? 1u : 0u);
      planner.completed(all_sample(*plan, 9));
    }
  }
  {
    PlannerOptions options = settled();
    options.headroom = 1;
    StepPlanner planner = decoding({4}, 9, options);
    ASSERT_TRUE(planner.move(0, 0, 1 - planner.owners(0)[0]));
    EXPECT_EQ(planner.next()->run.steps, 1);
  }
}

// It is on one rank; the other may have its next page, and must know what was sampled until then.
TEST(StepPlannerRunTest, OfARequestWhosePenaltiesLookBackTheWholeGroupTakesTheRun) {
  for (const bool looks_back : {false, true}) {
    StepPlanner planner(settled());
    ASSERT_TRUE(
        planner.submit({.id = 0, .prompt_tokens = 1, .max_new = 9, .looks_back = looks_back}));
    planner.completed(all_sample(*planner.next(), 9));
    StepPlan plan = *planner.next();
    EXPECT_EQ(plan.group.size(), 2u) << "its second page is granted ahead";
    EXPECT_EQ(run(planner, plan), 4);
    planner.end(0);
    ASSERT_TRUE(
        planner.submit({.id = 1, .prompt_tokens = 1, .max_new = 3, .looks_back = looks_back}));
    planner.completed(all_sample(*planner.next(), 9));
    EXPECT_EQ(planner.next()->group.size(), looks_back ? 2u : 1u);
  }
}

}  // namespace
}  // namespace longspan

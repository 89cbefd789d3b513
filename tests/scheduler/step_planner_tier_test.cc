// Requests that begin behind pages which were evicted and are kept in a tier: what the plan says,
// who waits for whom, and what becomes of it when something is not there.
#include <gmock/gmock.h>

#include <optional>
#include <utility>
#include <vector>

#include "scheduler/step_planner.h"

namespace longspan {
namespace {

using testing::ElementsAre;

/// Two ranks with four pages of four tokens each, and eight places.
PlannerOptions with_tier() {
  return {.group = {0, 1},
          .capacity = {4, 4},
          .page_tokens = 4,
          .chunk_tokens = 64,
          .tier = {8, 8},
          .page_bytes = 100};
}

/// A prompt of its own.
RequestShape named(RequestId id, int tokens, std::uint64_t text) {
  RequestShape shape{.id = id, .prompt_tokens = tokens, .max_new = 1};
  for (std::uint64_t page = 1; page <= static_cast<std::uint64_t>(tokens / 4); ++page) {
    shape.names.push_back({text, page});
  }
  return shape;
}

/// One step, at the end of which ranks say `news`, and what ends or decodes samples.
std::optional<StepPlan> step(StepPlanner& planner, const TierNews& news = {},
                             const CostModel* costs = nullptr) {
  auto plan = planner.next(costs);
  if (!plan) return plan;
  std::vector<SampledToken> sampled;
  for (const PrefillChunk& chunk : plan->prefill) {
    if (chunk.samples) sampled.push_back({chunk.request, 9});
  }
  for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, 9});
  planner.note(news);
  planner.completed(sampled);
  EXPECT_EQ(planner.ledger().check(), std::nullopt);
  EXPECT_EQ(violation(planner.state()), std::nullopt);
  return plan;
}

/// All that `plan` fetches has come, but for the pages `missing`.
TierNews came(const StepPlan& plan, const std::vector<std::int64_t>& missing = {},
              std::int64_t took = 1000) {
  TierNews news;
  for (const PageFetch& fetch : plan.fetches) {
    const bool good = std::ranges::count(missing, fetch.page) == 0;
    news.fetched.push_back({.at = fetch.at, .good = good, .took = took});
  }
  return news;
}

/// Text 1, of 17 tokens, was read and then displaced by text 2, of 28: pages 0 to 3 are in the
/// tier.
StepPlanner displaced(const PlannerOptions& options = with_tier()) {
  StepPlanner planner(options);
  EXPECT_TRUE(planner.submit(named(1, 17, 1)));
  EXPECT_TRUE(step(planner)->spills.empty());
  EXPECT_TRUE(planner.submit(named(2, 29, 2)));
  const auto plan = step(planner);
  EXPECT_EQ(plan->spills.size(), 4u);
  for (const SpilledPage& page : plan->spills) EXPECT_EQ(page.from.owner, page.to.owner);
  EXPECT_EQ(planner.tier_counts().kept, 4);
  return planner;
}

TEST(StepPlannerTierTest, APrefixInTheTierIsGrantedFetchedAndThenTheRestIsRead) {
  StepPlanner planner = displaced();
  ASSERT_TRUE(planner.submit(named(3, 17, 1)));
  const auto asks = planner.next();
  ASSERT_EQ(asks->fetches.size(), 4u);
  EXPECT_TRUE(asks->only_waits());
  EXPECT_EQ(asks->grants.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(asks->fetches[i].page, static_cast<std::int64_t>(i));
    EXPECT_EQ(asks->fetches[i].at, asks->grants[i].at);
    EXPECT_FALSE(asks->grants[i].filled);
    EXPECT_EQ(asks->fetches[i].at.owner, asks->fetches[i].from.owner);
  }
  EXPECT_THAT(asks->group, ElementsAre(0, 1));
  EXPECT_EQ(planner.ledger().promise().promised, 5) << "before anything has come";
  TierNews news = came(*asks);
  const FetchOutcome last = news.fetched.back();
  news.fetched.pop_back();
  planner.note(news);
  planner.completed({});
  const auto waits = planner.next();
  EXPECT_TRUE(waits->only_waits()) << "one has not come";
  EXPECT_THAT(waits->group, ElementsAre(last.at.owner));
  planner.note({.fetched = {last}, .lost = {}});
  planner.completed({});
  const auto reads = step(planner);
  ASSERT_EQ(reads->prefill.size(), 1u);
  EXPECT_EQ(reads->prefill[0].first, 16);
  EXPECT_EQ(reads->prefill[0].count, 1);
  EXPECT_EQ(planner.tier_counts().fetched, 4);
  EXPECT_EQ(planner.tier_counts().missed, 0);
}

TEST(StepPlannerTierTest, OthersGoOnWhileARequestFetches) {
  StepPlanner planner = displaced();
  ASSERT_TRUE(planner.submit(named(3, 13, 1)));
  RequestShape other = named(4, 5, 4);
  other.max_new = 4;
  ASSERT_TRUE(planner.submit(other));
  const auto first = step(planner);
  ASSERT_EQ(first->fetches.size(), 3u);
  ASSERT_EQ(first->prefill.size(), 1u);
  EXPECT_EQ(first->prefill[0].request, 4);
  for (int token = 0; token < 2; ++token) {
    const auto row = step(planner);
    EXPECT_EQ(row->decode.size(), 1u);
    EXPECT_TRUE(row->prefill.empty());
    EXPECT_THAT(row->group, ElementsAre(0, 1)) << "both have to tell";
  }
  const auto told = step(planner, came(*first));
  EXPECT_EQ(told->decode.size(), 1u);
  EXPECT_EQ(step(planner)->prefill.at(0).first, 12);
}

TEST(StepPlannerTierTest, AMissMakesARequestBeginBehindWhatWasThere) {
  StepPlanner planner = displaced();
  ASSERT_TRUE(planner.submit(named(3, 17, 1)));
  const auto asks = planner.next();
  planner.note(came(*asks, {2}));
  planner.completed({});
  EXPECT_EQ(planner.waiting(), 1);
  EXPECT_EQ(planner.ledger().promise().promised, 0);
  const auto again = step(planner);
  EXPECT_THAT(again->preempted, ElementsAre(3));
  EXPECT_TRUE(again->fetches.empty()) << "page 3 is there, but nothing before it";
  int hits = 0;
  for (const GrantedPage& page : again->grants) hits += page.filled;
  EXPECT_EQ(hits, 2);
  EXPECT_EQ(again->prefill.at(0).first, 8);
  EXPECT_EQ(planner.preemptions(), 0) << "nobody was short of memory";
  EXPECT_EQ(planner.tier_counts().missed, 1);
  EXPECT_EQ(planner.tier_counts().fetched, 2);
}

// Where hits are whole units of three pages, a part of one in memory and the rest in the tier are a
// hit, and what is damaged of that leaves none.
TEST(StepPlannerTierTest, UnitsAreFetchedWholeOrNotHadAtAll) {
  for (const bool damaged : {false, true}) {
    PlannerOptions options = with_tier();
    options.hit_pages = 3;
    StepPlanner planner(options);
    ASSERT_TRUE(planner.submit(named(1, 13, 1)));
    (void)step(planner);
    ASSERT_TRUE(planner.submit(named(2, 21, 2)));  // 6 of 8 pages: one of the three goes
    ASSERT_EQ(step(planner)->spills.size(), 1u);
    ASSERT_TRUE(planner.submit(named(3, 13, 1)));
    const auto asks = planner.next();
    ASSERT_EQ(asks->fetches.size(), 1u);
    planner.note(came(*asks, damaged ? std::vector<std::int64_t>{2} : std::vector<std::int64_t>{}));
    planner.completed({});
    EXPECT_EQ(step(planner)->prefill.at(0).first, damaged ? 0 : 12);
  }
}

TEST(StepPlannerTierTest, WhoLeavesOnTheWayHoldsItsPlacesUntilTheyWereRead) {
  PlannerOptions options = with_tier();
  options.tier = {2, 2};
  StepPlanner planner = displaced(options);
  ASSERT_TRUE(planner.submit(named(3, 17, 1)));
  const auto asks = step(planner);
  ASSERT_EQ(asks->fetches.size(), 4u);
  planner.abort(3);
  ASSERT_TRUE(planner.submit(named(4, 32, 4)));
  const auto evicts = step(planner);  // text 2, and nobody can take its pages
  EXPECT_TRUE(evicts->spills.empty());
  EXPECT_THAT(evicts->finished, testing::Contains(3));
  planner.note(came(*asks));
  ASSERT_TRUE(planner.submit(named(5, 32, 5)));
  EXPECT_FALSE(step(planner)->spills.empty());
}

TEST(StepPlannerTierTest, WhatCouldNotBeWrittenIsNotLookedFor) {
  StepPlanner planner = displaced();
  TierNews news;
  const auto places = planner.ledger().tier().chain(named(3, 17, 1).names);
  news.lost.push_back(places.at(1));
  planner.note(news);
  ASSERT_TRUE(planner.submit(named(3, 17, 1)));
  EXPECT_EQ(planner.next()->fetches.size(), 1u);
}

// Its pages are written before the next plan could say what they held.
TEST(StepPlannerTierTest, WhatAConversationDisplacesWhenItIsTakenUpIsLost) {
  StepPlanner planner(with_tier());
  ASSERT_TRUE(planner.submit(named(1, 29, 1)));
  (void)step(planner);
  ASSERT_TRUE(planner.restore({.id = 5, .prompt_tokens = 9, .room = 12}));
  EXPECT_EQ(planner.tier_counts().kept, 0);
  ASSERT_TRUE(planner.submit(named(6, 4, 6)));
  EXPECT_TRUE(planner.next()->spills.empty());
}

// A page takes 4 ms to read, one of each rank's at a time; a token 1 ms or 10 us to compute.
TEST(StepPlannerTierTest, WhatIsSoonerReadAnewIsNotFetched) {
  for (const auto& [seconds, fetches] : {std::pair{0.001, 3u}, {0.00001, 0u}}) {
    const CostModel costs({{2, {.b = seconds}}}, {{2, {.of_rows = {{1, seconds}}}}}, 1);
    StepPlanner planner = displaced();
    ASSERT_TRUE(planner.submit(named(3, 5, 1)));
    const auto unknown = planner.next(&costs);
    EXPECT_EQ(unknown->fetches.size(), 1u) << "nobody knows what it takes";
    planner.note(came(*unknown, {}, 4'000'000));
    planner.completed({});
    ASSERT_EQ(step(planner, {}, &costs)->prefill.size(), 1u);
    ASSERT_TRUE(planner.submit(named(4, 17, 1)));
    EXPECT_EQ(planner.next(&costs)->fetches.size(), fetches);
  }
}

}  // namespace
}  // namespace longspan

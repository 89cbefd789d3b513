// Jobs of several groups, whose steps begin and end in any order: every token is computed once and
// in order by the ranks of one group, and no group ever waits for another.
#include "scheduler/group_schedule.h"

#include <gmock/gmock.h>

#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "scheduler/decode_run.h"
#include "tests/scheduler/plan_replay.h"

namespace longspan {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kPageTokens = 4;

GroupSchedule schedule(PolicyKind kind, int degree, int instances, PlannerOptions common,
                       std::int64_t pages) {
  auto policy = make_policy(kind, degree);
  auto options = options_of_groups(*policy, common, instances, pages);
  return {std::move(policy), std::move(options)};
}

GroupSchedule two_groups(std::int64_t pages = 8) {
  return schedule(PolicyKind::kStaticSp, 2, 5, {.page_tokens = kPageTokens, .chunk_tokens = 8},
                  pages);
}

/// Of a prompt whose first `shared` pages are everybody's.
std::vector<PageHash> names(std::uint64_t own, std::uint64_t shared, std::uint64_t count) {
  std::vector<PageHash> list;
  for (std::uint64_t page = 0; page < count; ++page) {
    list.push_back({page < shared ? 1 : own, page + 1});
  }
  return list;
}

/// A millisecond a token read, 100 for one written.
CostModel slow_writers() {
  return {{{2, {.a = 0, .b = 0.001}}}, {{2, {.of_rows = {{1, 0.1}, {2, 0.1}}}}}, 1};
}

/// Steps of a group until it has none.
void run_out(GroupSchedule& schedule, int group) {
  while (const auto plan = schedule.next(group)) {
    std::vector<SampledToken> sampled;
    for (const PrefillChunk& chunk : plan->prefill) {
      if (chunk.samples) sampled.push_back({chunk.request, 0});
    }
    for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, 0});
    (void)schedule.completed(group, sampled);
  }
}

TEST(GroupScheduleTest, GroupsHaveInstancesAndPagesOfTheirOwn) {
  GroupSchedule schedule = two_groups();
  ASSERT_EQ(schedule.groups(), 2);
  EXPECT_THAT(schedule.planner(0).options().group, ElementsAre(0, 1));
  EXPECT_THAT(schedule.planner(1).options().group, ElementsAre(2, 3));
  EXPECT_THAT(schedule.planner(1).options().capacity, ElementsAre(0, 0, 8, 8, 0)) << "4 idles";
  EXPECT_TRUE(schedule.could_run({.id = 0, .prompt_tokens = 60, .max_new = 5})) << "16 pages";
  EXPECT_FALSE(schedule.could_run({.id = 0, .prompt_tokens = 60, .max_new = 6}));
  EXPECT_FALSE(schedule.submit({.id = 0, .prompt_tokens = 60, .max_new = 6}));
  EXPECT_EQ(schedule.group_of(0), std::nullopt);
}

TEST(GroupScheduleTest, ARequestGoesWhereLeastIsLeftToDo) {
  GroupSchedule schedule = two_groups();
  ASSERT_TRUE(schedule.submit({.id = 0, .prompt_tokens = 20, .max_new = 1}));
  ASSERT_TRUE(schedule.submit({.id = 1, .prompt_tokens = 1, .max_new = 10}));
  ASSERT_TRUE(schedule.submit({.id = 2, .prompt_tokens = 9, .max_new = 1}));
  ASSERT_TRUE(schedule.submit({.id = 3, .prompt_tokens = 1, .max_new = 1}));
  ASSERT_TRUE(schedule.submit({.id = 4, .prompt_tokens = 1, .max_new = 1}));
  EXPECT_EQ(schedule.group_of(0), 0) << "of equals the first";
  EXPECT_EQ(schedule.group_of(1), 1);
  EXPECT_EQ(schedule.group_of(2), 1) << "21 and 11 tokens are left";
  EXPECT_EQ(schedule.group_of(3), 0) << "21 and 21";
  EXPECT_EQ(schedule.group_of(4), 1) << "23 and 21";
  run_out(schedule, 0);
  ASSERT_TRUE(schedule.submit({.id = 5, .prompt_tokens = 30, .max_new = 1}));
  EXPECT_EQ(schedule.group_of(5), 0) << "what is done counts no more";
}

// 20 ms and 101 ms are left; in tokens it was 20 and 2.
TEST(GroupScheduleTest, WhereCostsAreKnownWorkIsTime) {
  GroupSchedule schedule = two_groups();
  const CostModel costs = slow_writers();
  ASSERT_TRUE(schedule.submit({.id = 0, .prompt_tokens = 40, .max_new = 1}, &costs));
  ASSERT_TRUE(schedule.submit({.id = 1, .prompt_tokens = 1, .max_new = 2}, &costs));
  ASSERT_TRUE(schedule.submit({.id = 2, .prompt_tokens = 1, .max_new = 1}, &costs));
  EXPECT_EQ(schedule.group_of(1), 1);
  EXPECT_EQ(schedule.group_of(2), 0);
}

RequestShape named(RequestId id, std::int64_t tokens) {
  return {.id = id, .prompt_tokens = tokens, .max_new = 1, .names = names(10 + id, 5, tokens / 4)};
}

// 20 tokens of 21 need not be read again.
TEST(GroupScheduleTest, WhatIsComputedDrawsARequestAsFarAsItSavesWork) {
  for (const std::int64_t waiting : {21, 22}) {
    GroupSchedule schedule = two_groups();
    ASSERT_TRUE(schedule.submit({.id = 9, .prompt_tokens = 1, .max_new = 1}));
    ASSERT_TRUE(schedule.submit(named(0, 20)));
    ASSERT_EQ(schedule.group_of(0), 1);
    run_out(schedule, 0);
    run_out(schedule, 1);
    ASSERT_TRUE(schedule.submit({.id = 8, .prompt_tokens = 1, .max_new = 1}));
    ASSERT_TRUE(schedule.submit({.id = 7, .prompt_tokens = waiting - 1, .max_new = 1}));
    ASSERT_EQ(schedule.group_of(7), 1);
    ASSERT_TRUE(schedule.submit(named(1, 21)));
    EXPECT_EQ(schedule.group_of(1), waiting == 21 ? 1 : 0) << "2 + 22 tokens against 2 more";
  }
}

TEST(GroupScheduleTest, WhatWillBeComputedDrawsARequestToo) {
  for (const bool alike : {true, false}) {
    GroupSchedule schedule = two_groups();
    ASSERT_TRUE(schedule.submit({.id = 9, .prompt_tokens = 1, .max_new = 1}));
    ASSERT_TRUE(schedule.submit(named(0, 20)));
    RequestShape request = named(1, 41);
    if (!alike) request.names.clear();
    ASSERT_TRUE(schedule.submit(request));
    EXPECT_EQ(schedule.group_of(1), alike ? 1 : 0) << "2 + 42 against 21 + 22";
  }
}

/// Two groups, of which the first has read `named(0, 20)` and is busy with request 7, and request 1
/// of 21 tokens, which the second is to have copies for.
GroupSchedule about_to_copy() {
  GroupSchedule schedule =
      ::longspan::schedule(PolicyKind::kStaticSp, 2, 5,
                           {.page_tokens = kPageTokens, .chunk_tokens = 8, .copy_time = 1}, 8);
  EXPECT_TRUE(schedule.submit(named(0, 20)));
  run_out(schedule, 0);
  EXPECT_TRUE(schedule.submit({.id = 7, .prompt_tokens = 20, .max_new = 1}));
  EXPECT_TRUE(schedule.submit(named(1, 21)));
  EXPECT_EQ(schedule.group_of(1), 1) << "5 pages and 2 tokens against 21 and 2";
  EXPECT_EQ(schedule.prefix_counts().replicated, 1);
  return schedule;
}

/// All that `plan` fetches has come.
TierNews came(const StepPlan& plan) {
  TierNews news;
  for (const PageFetch& fetch : plan.fetches) news.fetched.push_back({fetch.at, true, 1});
  return news;
}

TEST(GroupScheduleTest, WhatAnotherGroupHasIsLentUntilItHasBeenCopied) {
  GroupSchedule schedule = about_to_copy();
  const auto asks = schedule.next(1);
  ASSERT_EQ(asks->fetches.size(), 5u);
  EXPECT_TRUE(asks->only_waits());
  const auto source = [&](std::int64_t page) { return asks->fetches[page].from; };
  const auto target = [&](std::int64_t page) { return asks->fetches[page].at.owner; };
  for (const std::int64_t page : {0, 1, 2, 3, 4}) {
    EXPECT_TRUE(asks->fetches[page].sent);
    EXPECT_EQ(schedule.group_with(source(page).owner), 0);
    EXPECT_EQ(schedule.group_with(target(page)), 1);
    EXPECT_EQ(target(page), target(page % 2)) << "as the layout wants it";
    const Page* lent = schedule.planner(0).ledger().find(source(page));
    EXPECT_EQ(lent->state, PageState::kCached);
    EXPECT_EQ(lent->leases, 1);
  }
  // 7 has 5 pages of 16, and 5 are lent: 6 are left for others.
  EXPECT_TRUE(schedule.submit({.id = 5, .prompt_tokens = 25, .max_new = 1, .like = 7}));
  EXPECT_TRUE(schedule.next(0));
  EXPECT_EQ(schedule.planner(0).running(), 1) << "of 7 pages";
  (void)schedule.completed(0, {});
  (void)schedule.completed(1, {});
  EXPECT_FALSE(schedule.next(1)->fetches.size()) << "they are on their way";
  schedule.note(1, came(*asks));
  (void)schedule.completed(1, {});
  for (const PageFetch& fetch : asks->fetches) {
    EXPECT_EQ(schedule.planner(0).ledger().find(fetch.from)->leases, 0);
    EXPECT_TRUE(schedule.planner(1).ledger().find(fetch.at)->indexed);
  }
  EXPECT_EQ(schedule.planner(1).copied(), 5);
  EXPECT_TRUE(schedule.next(0));
  EXPECT_EQ(schedule.planner(0).running(), 2);
  const auto reads = schedule.next(1);
  ASSERT_EQ(reads->prefill.size(), 1u);
  EXPECT_EQ(reads->prefill[0].first, 20);
}

// What comes is written to its pages, so they must be its own until then.
TEST(GroupScheduleTest, WhoEndsWhilePagesAreSentToItKeepsItsPagesUntilTheyHaveCome) {
  GroupSchedule schedule = about_to_copy();
  const auto asks = schedule.next(1);
  schedule.abort(1);
  (void)schedule.completed(1, {});
  EXPECT_EQ(schedule.planner(1).running(), 1);
  EXPECT_TRUE(schedule.next(1)->only_waits());
  schedule.note(1, came(*asks));
  (void)schedule.completed(1, {});
  EXPECT_TRUE(schedule.planner(1).idle());
  EXPECT_EQ(schedule.planner(1).ledger().counts().at(PageState::kCached), 5) << "for the next one";
  EXPECT_EQ(schedule.planner(0).ledger().counts().pinned, 0);
}

TEST(GroupScheduleTest, WhatIsGoneByThenOrCannotBeKeptIsReadAgain) {
  GroupSchedule schedule = about_to_copy();
  EXPECT_TRUE(schedule.submit({.id = 5, .prompt_tokens = 44, .max_new = 1, .like = 7}));
  EXPECT_TRUE(schedule.next(0)) << "7 and 5 are promised all 16 pages";
  EXPECT_EQ(schedule.planner(0).running(), 2);
  const auto plan = schedule.next(1);
  EXPECT_TRUE(plan->fetches.empty());
  ASSERT_EQ(plan->prefill.size(), 1u);
  EXPECT_EQ(plan->prefill[0].first, 0);
}

TEST(GroupScheduleTest, AnotherAnswerGoesWhereItsPromptIsRead) {
  GroupSchedule schedule = two_groups();
  ASSERT_TRUE(schedule.submit({.id = 0, .prompt_tokens = 20, .max_new = 3}));
  ASSERT_TRUE(schedule.submit({.id = 1, .prompt_tokens = 20, .max_new = 3, .like = 0}));
  EXPECT_EQ(schedule.group_of(1), 0);
  ASSERT_TRUE(schedule.submit({.id = 2, .prompt_tokens = 20, .max_new = 3}));
  EXPECT_EQ(schedule.group_of(2), 1);
}

TEST(GroupScheduleTest, AConversationOfAnotherJobGoesToAGroupWithRoom) {
  GroupSchedule schedule = two_groups();
  ASSERT_TRUE(schedule.restore({.id = 0, .prompt_tokens = 4, .room = 60}));
  EXPECT_EQ(schedule.group_of(0), 0);
  ASSERT_TRUE(schedule.restore({.id = 1, .prompt_tokens = 4, .room = 60}));
  EXPECT_EQ(schedule.group_of(1), 1) << "nobody has anything to do, but there is no room";
  EXPECT_FALSE(schedule.restore({.id = 2, .prompt_tokens = 4, .room = 60}));
  EXPECT_TRUE(schedule.holds(1));
  schedule.abort(1);
  EXPECT_FALSE(schedule.holds(1));
  ASSERT_TRUE(schedule.restore({.id = 2, .prompt_tokens = 4, .room = 60}));
  EXPECT_EQ(schedule.group_of(1), std::nullopt) << "forgotten with what was told then";
}

// Rows first, then the prompt that is under way, then the next, as much as is left of the budget.
TEST(GroupScheduleTest, ChunkedPrefillFillsItsBudgetInOrder) {
  GroupSchedule schedule = ::longspan::schedule(
      PolicyKind::kChunkedPrefill, 1, 2, {.page_tokens = kPageTokens, .chunk_tokens = 32}, 100);
  ASSERT_EQ(schedule.groups(), 1);
  const auto sizes = [&](const StepPlan& plan) {
    std::vector<std::pair<RequestId, std::int64_t>> list;
    for (const PrefillChunk& chunk : plan.prefill) list.emplace_back(chunk.request, chunk.count);
    return list;
  };
  using Sizes = std::vector<std::pair<RequestId, std::int64_t>>;
  ASSERT_TRUE(schedule.submit({.id = 0, .prompt_tokens = 5, .max_new = 9}));
  EXPECT_EQ(sizes(*schedule.next(0)), (Sizes{{0, 5}}));
  (void)schedule.completed(0, {{0, 1}});
  ASSERT_TRUE(schedule.submit({.id = 1, .prompt_tokens = 43, .max_new = 9}));
  ASSERT_TRUE(schedule.submit({.id = 2, .prompt_tokens = 20, .max_new = 9}));
  ASSERT_TRUE(schedule.submit({.id = 3, .prompt_tokens = 3, .max_new = 9}));
  auto plan = schedule.next(0);
  EXPECT_EQ(plan->decode.size(), 1u);
  EXPECT_EQ(sizes(*plan), (Sizes{{1, 24}})) << "31 are left, in whole pages of both 24";
  (void)schedule.completed(0, {{0, 1}});
  plan = schedule.next(0);
  EXPECT_EQ(sizes(*plan), (Sizes{{1, 19}, {2, 8}, {3, 3}})) << "31, 12 and 4 are left";
  (void)schedule.completed(0, {{0, 1}, {1, 1}, {3, 1}});
  plan = schedule.next(0);
  EXPECT_EQ(plan->decode.size(), 3u);
  EXPECT_EQ(sizes(*plan), (Sizes{{2, 12}}));
}

/// Requests that come and are aborted at any time, on groups whose steps end in any order.
class RandomGroups {
 public:
  explicit RandomGroups(int seed) : random_(seed) {
    const int instances = 1 + below(6);
    const PolicyKind kind = kPolicies[below(3)];
    PlannerOptions common{.page_tokens = std::int64_t{1} << below(4),
                          .keep = below(2) ? Retention::kSpread : Retention::kFewest,
                          .chunk_tokens = 1 + below(40),
                          .max_running = 1 + below(4),
                          .run_steps = 1 + below(6),
                          .cuts_are_fixed = below(2) == 0};
    if (below(2)) common.step_rows = 1 + below(60);
    if (below(4) > 0) common.copy_time = 1 + below(4'000'000);
    if (below(3) == 0) common.hit_pages = 2;
    page_tokens_ = common.page_tokens;
    schedule_.emplace(schedule(kind, 1 + below(instances), instances, common, 2 + below(20)));
    for (int group = 0; group < schedule_->groups(); ++group) {
      replays_.emplace_back(schedule_->planner(group).options(), seed + group);
      replays_.back().prompt_of = [this](RequestId id) { return shapes_.at(id).prompt_tokens; };
      replays_.back().name_of = [this](RequestId id, std::int64_t page) {
        return shapes_.at(id).names.at(page);
      };
      replays_.back().other_holds = [this](PageRef at, const PageHash& name) {
        return replays_[schedule_->group_with(at.owner)].holds(at, name);
      };
    }
    under_way_.resize(schedule_->groups());
  }

  void run() {
    while (next_ < 16 || !idle()) {
      if (next_ < 16 && below(3) == 0) submit();
      if (below(20) == 0) abort(below(16));
      const int group = below(schedule_->groups());
      under_way_[group] ? end_step(group) : begin_step(group);
      if (testing::Test::HasFatalFailure()) return;
    }
    for (const auto& [id, shape] : shapes_) {
      if (aborted_.contains(id)) continue;
      const std::int64_t computed = replays_[group_.at(id)].computed().at(id);
      EXPECT_GE(computed, shape.prompt_tokens);
      EXPECT_LE(computed, shape.prompt_tokens + shape.max_new - 1);
    }
    for (int group = 0; group < schedule_->groups(); ++group) {
      EXPECT_EQ(schedule_->planner(group).ledger().counts().pinned, 0) << "all was given back";
      EXPECT_EQ(schedule_->planner(group).copied(), replays_[group].sent());
      copied += replays_[group].sent();
    }
  }

  /// Steps that began while another group's was under way, and those that needed no plan.
  int together = 0, of_runs = 0;
  std::int64_t copied = 0;  // pages

 private:
  struct UnderWay {
    StepPlan plan;
    DecodeRun run;
    std::vector<SampledToken> sampled;
  };

  int below(int bound) { return static_cast<int>(random_() % bound); }

  bool idle() const {
    for (int group = 0; group < schedule_->groups(); ++group) {
      if (!schedule_->planner(group).idle() || under_way_[group]) return false;
    }
    return true;
  }

  void submit() {
    RequestShape shape{.id = next_++,
                       .prompt_tokens = 1 + below(60),
                       .max_new = 1 + below(12),
                       .stop_tokens = {below(2) ? 3 : -1}};
    const auto pages = static_cast<std::uint64_t>(shape.prompt_tokens / page_tokens_);
    if (below(4) > 0) shape.names = names(10 + shape.id, below(8), pages);
    if (const auto before = shapes_.find(shape.id - 1); before != shapes_.end() && below(4) == 0) {
      const RequestId like = before->second.like.value_or(shape.id - 1);
      shape = before->second;
      shape.id = next_ - 1;
      shape.like = like;
    }
    const bool fits = schedule_->submit(shape, below(2) ? &costs_ : nullptr);
    EXPECT_EQ(fits, schedule_->could_run(shape));
    if (!fits) return;
    shapes_[shape.id] = shape;
    group_[shape.id] = *schedule_->group_of(shape.id);
  }

  /// Only what waits or runs, and only between its group's steps.
  void abort(RequestId id) {
    if (const auto group = schedule_->group_of(id); group && !under_way_[*group]) {
      schedule_->abort(id);
      aborted_.insert(id);
    }
  }

  /// Whatever the others do, a group that has something to do can begin.
  void begin_step(int group) {
    const bool has_work = !schedule_->planner(group).idle();
    auto plan = schedule_->next(group);
    ASSERT_EQ(plan.has_value(), has_work);
    if (!plan) return;
    test::expect_all_places(schedule_->planner(group), &*plan);
    for (const auto& other : under_way_) together += other.has_value();
    for (const PrefillChunk& chunk : plan->prefill) EXPECT_EQ(group_.at(chunk.request), group);
    for (const DecodeStep& row : plan->decode) EXPECT_EQ(group_.at(row.request), group);
    DecodeRun run = std::exchange(plan->run, {});
    auto sampled = replays_[group].apply(*plan);
    under_way_[group] = {*std::move(plan), std::move(run), std::move(sampled)};
  }

  void end_step(int group) {
    UnderWay& step = *under_way_[group];
    schedule_->note(group, replays_[group].news(step.plan));
    (void)schedule_->completed(group, step.sampled);
    if (step.run.goes_on() && step_on(step.plan, step.run, step.sampled) && below(5) > 0) {
      step.sampled = replays_[group].apply(step.plan);
      ++of_runs;
    } else {
      under_way_[group].reset();
    }
    test::expect_all_places(schedule_->planner(group), nullptr);
    ASSERT_EQ(schedule_->planner(group).ledger().check(), std::nullopt);
    ASSERT_EQ(violation(schedule_->planner(group).state()), std::nullopt);
  }

  std::mt19937 random_;
  const CostModel costs_ = slow_writers();
  std::int64_t page_tokens_ = 1;
  std::optional<GroupSchedule> schedule_;
  std::vector<test::Replay> replays_;               // by group
  std::vector<std::optional<UnderWay>> under_way_;  // likewise
  std::map<RequestId, RequestShape> shapes_;
  std::map<RequestId, int> group_;
  std::set<RequestId> aborted_;
  RequestId next_ = 0;
};

TEST(GroupScheduleTest, RandomJobsEndWithEveryTokenComputedOnceAndNoGroupWaitingForAnother) {
  int together = 0, of_runs = 0;
  std::int64_t copied = 0;
  for (int seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    RandomGroups job(seed);
    job.run();
    together += job.together;
    of_runs += job.of_runs;
    copied += job.copied;
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(together, 2000);
  EXPECT_GT(of_runs, 1000);
  EXPECT_GT(copied, 100);
}

}  // namespace
}  // namespace longspan

// What a planner knows is written and read again, and what was read is checked from page tables up.
#include "runtime/engine/state_json.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "comm/error.h"
#include "scheduler/page_slots.h"
#include "scheduler/step_planner.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kPageTokens = 4;

std::vector<PageHash> names(std::int64_t pages, std::uint64_t text) {
  std::vector<PageHash> list;
  for (std::int64_t page = 1; page <= pages; ++page) {
    list.push_back({text, static_cast<std::uint64_t>(page)});
  }
  return list;
}

/// Steps of a job in which requests share prefixes, talk, are aborted, wait, and fetch from a tier.
void for_each_step(int seed, const std::function<void(const StepPlanner&)>& visit) {
  std::mt19937 random(seed);
  const auto below = [&](int bound) { return static_cast<std::int64_t>(random() % bound); };
  StepPlanner planner({.group = {0, 1, 2},
                       .capacity = {12, 12, 12},
                       .page_tokens = kPageTokens,
                       .chunk_tokens = 1 + below(30),
                       .max_running = 6,
                       .open_answer_part = 3,
                       .tier = {30, 30, 30},
                       .page_bytes = 64});
  std::vector<PageFetch> fetching;
  RequestId next = 0;
  visit(planner);
  while (next < 20 || !planner.idle()) {
    if (next < 20 && below(2)) {
      RequestShape shape{.id = next++, .prompt_tokens = 1 + below(40), .max_new = 1 + below(8)};
      shape.names_limit = below(3) > 0;
      if (!shape.names_limit) shape.max_new += below(60);
      if (below(4) == 0) shape.room = shape.prompt_tokens + shape.max_new + below(9);
      if (shape.room == 0) shape.names = names(shape.prompt_tokens / kPageTokens, 7 + below(4));
      EXPECT_TRUE(planner.submit(shape));
    }
    if (below(6) == 0) planner.abort(below(static_cast<int>(next) + 1));
    const auto plan = planner.next();
    if (!plan) continue;
    std::vector<SampledToken> sampled;
    for (const PrefillChunk& chunk : plan->prefill) {
      if (chunk.samples) sampled.push_back({chunk.request, 9});
    }
    for (const DecodeStep& row : plan->decode) sampled.push_back({row.request, 9});
    TierNews news;
    for (const PageFetch& fetch : fetching) news.fetched.push_back({fetch.at, below(8) > 0});
    fetching = plan->fetches;
    planner.note(news);
    planner.completed(sampled);
    visit(planner);
    for (RequestId id = 0; id < next; ++id) {
      if (planner.holds(id) && below(3) == 0) planner.abort(id);
    }
  }
}

TEST(StateJsonTest, WhatIsWrittenIsReadAgainAndAddsUp) {
  int pages = 0, waiting = 0, held = 0, shared = 0, steps = 0, preempted = 0, fetching = 0;
  for (int seed = 0; seed < 20; ++seed) {
    for_each_step(seed, [&](const StepPlanner& planner) {
      const PlannerState state = planner.state();
      const auto text = json_of(state).dump();
      const PlannerState again = planner_state_of(nlohmann::ordered_json::parse(text));
      ASSERT_EQ(again, state);
      ASSERT_EQ(violation(again), std::nullopt) << text;
      // The ledger's own counts, found anew.
      std::vector<PageCounts> counts(3);
      for (const PageRecord& page : again.pages) {
        ++counts[page.at.owner].in[static_cast<int>(page.state)];
        shared += page.refs > 1;
      }
      for (int owner = 0; owner < 3; ++owner) {
        for (const PageState in :
             {PageState::kReserved, PageState::kLive, PageState::kCached, PageState::kRetired}) {
          ASSERT_EQ(counts[owner].at(in), planner.ledger().counts(owner).at(in));
        }
      }
      ++steps;
      pages += static_cast<int>(again.pages.size());
      for (const RequestState& request : again.requests) {
        waiting += request.phase == RequestPhase::kWaiting;
        held += request.phase == RequestPhase::kHeld;
        fetching += request.fetching > 0;
        preempted += request.phase == RequestPhase::kWaiting && request.preempted > 0;
      }
    });
  }
  EXPECT_GT(pages, 10 * steps);
  EXPECT_GT(waiting, 100);
  EXPECT_GT(held, 20);
  EXPECT_GT(shared, 20);
  EXPECT_GT(preempted, 20);
  EXPECT_GT(fetching, 20);
}

/// A state with a request that has pages.
PlannerState busy_state() {
  PlannerState busy;
  for_each_step(1, [&](const StepPlanner& planner) {
    const PlannerState state = planner.state();
    for (const RequestState& request : state.requests) {
      if (request.pages.size() > 2 && request.computed % kPageTokens > 0) busy = state;
    }
  });
  EXPECT_FALSE(busy.requests.empty());
  return busy;
}

RequestState& with_pages(PlannerState& state) {
  return *std::ranges::find_if(state.requests, [](const RequestState& request) {
    return request.pages.size() > 2 && request.computed % kPageTokens > 0;
  });
}

TEST(StateJsonTest, WhatDoesNotAddUpIsFound) {
  const auto said = [](const std::function<void(PlannerState&)>& harm) {
    PlannerState state = busy_state();
    harm(state);
    return violation(state).value_or("nothing");
  };
  EXPECT_EQ(said([](PlannerState&) {}), "nothing");
  EXPECT_THAT(said([](auto& state) { state.requests.push_back(state.requests.front()); }),
              HasSubstr("I4"));
  EXPECT_THAT(said([](auto& state) { state.capacity.assign(3, 1); }), HasSubstr("I2"));
  EXPECT_THAT(said([](auto& state) { ++state.pages.front().refs; }), HasSubstr("I1"));
  EXPECT_THAT(said([](auto& state) { state.pages.push_back(state.pages.front()); }),
              HasSubstr("I3"));
  EXPECT_THAT(said([](auto& state) { ++with_pages(state).pages[1].generation; }),
              HasSubstr("stale"));
  EXPECT_THAT(said([](auto& state) { with_pages(state).pages.pop_back(); }), HasSubstr("I3"));
  EXPECT_THAT(
      said([](auto& state) { std::swap(with_pages(state).pages[0], with_pages(state).pages[1]); }),
      HasSubstr("I3"));
  EXPECT_THAT(said([](auto& state) { ++with_pages(state).computed; }), HasSubstr("I3"));
  EXPECT_THAT(said([](auto& state) { with_pages(state).group = {}; }), HasSubstr("I5"));
}

TEST(StateJsonTest, WhatNobodyWroteIsRefused) {
  const auto value = json_of(busy_state());
  auto phase = value, page = value, missing = value;
  phase["requests"][0]["phase"] = "sleeping";
  page["pages"][0]["state"] = 3;
  missing.erase("epoch");
  EXPECT_THROW(planner_state_of(phase), DataError);
  EXPECT_THROW(planner_state_of(page), nlohmann::json::exception);
  EXPECT_THROW(planner_state_of(missing), nlohmann::json::exception);
}

TEST(StateJsonTest, TheFileIsNewAndThisUsersAlone) {
  const test::TemporaryDirectory folder;
  ::setenv("TMPDIR", folder.path().c_str(), 1);
  const PlannerState state = busy_state();
  write_state(state);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++files;
    EXPECT_EQ(planner_state_of(nlohmann::ordered_json::parse(std::ifstream(entry.path()))), state);
    struct stat status{};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  EXPECT_EQ(files, 1);
  write_state(state);  // is there: a line says so, and it stays
}

}  // namespace
}  // namespace longspan

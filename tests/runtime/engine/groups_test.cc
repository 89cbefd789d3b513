// Engines of several groups, on ranks as threads: whichever group serves a request, it has the
// tokens it has alone, and no group's step waits for another's.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/session_messages.h"
#include "runtime/session/session_folder.h"
#include "tests/runtime/engine/engine_fixture.h"

namespace longspan {
namespace {

using test::Heard;
using test::prompts;
using test::random_tokens;
using test::request_of;
using test::run_out;
using test::Tokens;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class GroupsTest : public test::EngineFixture {};

/// Holds the chunks of group 0 up until it is opened; not for ever, so that a test that fails ends.
class Gate {
 public:
  void open() { opened_.set_value(); }
  /// Called on a compute stream's thread.
  LayerDone layer() {
    return [this](int) {
      if (!reached_once_) reached_.set_value();
      reached_once_ = true;
      if (given_up_) return;
      given_up_ = open_.wait_for(std::chrono::seconds(10)) != std::future_status::ready;
      EXPECT_FALSE(given_up_) << "a chunk is held up, and nobody else gets on";
    };
  }
  /// Until a chunk is held up.
  void wait_for_chunk() { reached_.get_future().wait(); }

 private:
  std::promise<void> opened_, reached_;
  std::shared_future<void> open_ = opened_.get_future().share();
  bool reached_once_ = false, given_up_ = false;
};

JobOptions two_groups() {
  return {.degree = 2, .groups = 2, .page_tokens = 4, .chunk_tokens = 8, .max_running = 6};
}

struct Setting {
  PolicyKind policy = PolicyKind::kStaticSp;
  int degree = 1;
  int groups = 1;
  int idle = 0;
};

TEST_F(GroupsTest, UnderEveryPolicyARequestHasTheTokensItHasAlone) {
  auto list = prompts(1, 12);
  list[7] = list[2];  // two that share all
  list[8].insert(list[8].begin(), list[2].begin(), list[2].end());
  list[8].resize(std::min<std::size_t>(list[8].size(), 60));
  const auto oracle = alone(list);
  for (const Setting& setting : {Setting{PolicyKind::kStaticSp, 1, 4, 1},
                                 {PolicyKind::kStaticSp, 2, 2, 0},
                                 {PolicyKind::kStaticSp, 2, 3, 0},
                                 {PolicyKind::kStaticSp, 3, 2, 0},
                                 {PolicyKind::kReplicas, 1, 4, 0},
                                 {PolicyKind::kChunkedPrefill, 3, 1, 0}}) {
    SCOPED_TRACE(str("{}: {} groups of {}", name(setting.policy), setting.groups, setting.degree));
    std::vector<Heard> heard(list.size());
    EngineStats stats;
    open(
        {.degree = setting.degree,
         .groups = setting.groups,
         .policy = setting.policy,
         .page_tokens = 4,
         .chunk_tokens = 16,
         .max_running = 2 * setting.groups},
        [&](Engine& engine) {
          for (std::size_t i = 0; i < list.size(); ++i) {
            EngineRequest request = request_of(list[i], heard[i]);
            if (i == 7) request.like = 2;
            engine.submit(std::move(request));
          }
          EXPECT_EQ(engine.stats().waiting, 12);
          EXPECT_TRUE(engine.step());
          EXPECT_EQ(engine.stats().waiting + engine.stats().running, 12);
          run_out(engine);
          stats = engine.stats();
        },
        nullptr, setting.idle);
    std::int64_t read = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(heard[i].tokens, oracle[i]) << i;
      ASSERT_EQ(heard[i].finished.size(), 1u) << i;
      read += heard[i].read;
    }
    EXPECT_EQ(stats.waiting + stats.running + stats.held, 0);
    EXPECT_EQ(stats.kv_promised + stats.kv_in_use, 0);
    EXPECT_EQ(stats.prompt_tokens, read);
    EXPECT_EQ(stats.tokens, 6 * 12);
  }
}

// Of two groups, each with a step under way most of the time; keys that are rounded too.
TEST_F(GroupsTest, WhereKeysAreRoundedOrPricesGuideTheTokensAreStillThoseOfOneRank) {
  const auto list = prompts(2, 8);
  for (const KvType type : {KvType::kFloat32, KvType::kInt8}) {
    std::vector<std::vector<Tokens>> answers;
    for (const int groups : {1, 3}) {
      std::vector<Heard> heard(list.size());
      JobOptions options{.degree = 1, .groups = groups, .page_tokens = 4, .chunk_tokens = 16};
      options.tbt_target = std::chrono::milliseconds(50);
      options.kv_type = type;
      options.max_running = 6;
      open(options, [&](Engine& engine) {
        for (std::size_t i = 0; i < list.size(); ++i) engine.submit(request_of(list[i], heard[i]));
        run_out(engine);
      });
      answers.emplace_back();
      for (const Heard& one : heard) answers.back().push_back(one.tokens);
    }
    EXPECT_EQ(answers[1], answers[0]) << name(type);
  }
}

// The long prompt's first chunk is held up until the short request is done, which comes when that
// chunk is under way already, from a thread that does not run steps.
TEST_F(GroupsTest, AShortRequestEndsWhileAnotherGroupReadsALongPrompt) {
  std::mt19937 random(3);
  const std::vector<Tokens> list{random_tokens(random, 60), random_tokens(random, 3)};
  const auto oracle = alone(list);
  std::vector<Heard> heard(2);
  Gate gate;
  open(
      two_groups(),
      [&](Engine& engine) {
        engine.submit(request_of(list[0], heard[0]));
        std::jthread client([&] {
          gate.wait_for_chunk();
          EngineRequest request = request_of(list[1], heard[1]);
          request.on_finished = [&](const Finish& finish) {
            heard[1].finished.push_back(finish);
            gate.open();
          };
          engine.submit(std::move(request));
        });
        while (heard[1].finished.empty()) EXPECT_TRUE(engine.step());
        EXPECT_EQ(engine.stats().steps, 6) << "all of them the short one's";
        EXPECT_EQ(heard[0].read, 8) << "its first chunk has begun";
        EXPECT_TRUE(heard[0].tokens.empty());
        client.join();
        run_out(engine);
      },
      gate.layer());
  EXPECT_EQ(heard[0].tokens, oracle[0]);
  EXPECT_EQ(heard[1].tokens, oracle[1]);
}

TEST_F(GroupsTest, WhatIsSaidOfABusyGroupsRequestIsHeededWhenItsStepEnds) {
  std::mt19937 random(4);
  const std::vector<Tokens> list{random_tokens(random, 60), random_tokens(random, 3),
                                 random_tokens(random, 5)};
  const auto oracle = alone(list);
  std::vector<Heard> heard(3);
  Gate gate;
  open(
      two_groups(),
      [&](Engine& engine) {
        const RequestId victim = engine.submit(request_of(list[0], heard[0]));
        EngineRequest request = request_of(list[1], heard[1]);
        request.on_finished = [&](const Finish& finish) {
          heard[1].finished.push_back(finish);
          engine.abort(victim);
        };
        engine.submit(std::move(request));
        while (heard[1].finished.empty()) EXPECT_TRUE(engine.step());
        engine.submit(request_of(list[2], heard[2]));
        while (heard[2].finished.empty()) EXPECT_TRUE(engine.step());
        EXPECT_TRUE(heard[0].finished.empty()) << "its chunk is under way";
        gate.open();
        run_out(engine);
      },
      gate.layer());
  ASSERT_EQ(heard[0].finished.size(), 1u);
  EXPECT_EQ(heard[0].finished[0].ending, Ending::kAborted);
  EXPECT_EQ(heard[0].read, 8);
  EXPECT_TRUE(heard[0].tokens.empty());
  EXPECT_EQ(heard[1].tokens, oracle[1]);
  EXPECT_EQ(heard[2].tokens, oracle[2]);
}

TEST_F(GroupsTest, AnEngineThatClosesInTheMiddleOfStepsWaitsForThemAndSaysNothing) {
  std::mt19937 random(5);
  std::vector<Heard> heard(2);
  Gate gate;
  open(
      two_groups(),
      [&](Engine& engine) {
        for (Heard& one : heard) engine.submit(request_of(random_tokens(random, 60), one));
        EXPECT_TRUE(engine.step());
        gate.open();
      },
      gate.layer());
  for (const Heard& one : heard) EXPECT_TRUE(one.finished.empty());
}

TEST_F(GroupsTest, ConversationsStayWithTheirGroupsFromTurnToTurn) {
  std::mt19937 random(6);
  constexpr int kTalks = 4;
  std::vector<Tokens> first, second;
  std::vector<Heard> opened(kTalks), went_on(kTalks);
  for (int i = 0; i < kTalks; ++i) first.push_back(random_tokens(random, 5 + 9 * i));
  open(two_groups(), [&](Engine& engine) {
    std::vector<RequestId> ids;
    for (int i = 0; i < kTalks; ++i) {
      EngineRequest request = request_of(first[i], opened[i]);
      request.room = engine.room();
      ids.push_back(engine.submit(std::move(request)));
    }
    run_out(engine);
    EXPECT_EQ(engine.stats().held, kTalks);
    for (int i = 0; i < kTalks; ++i) {
      second.push_back(first[i]);
      second[i].insert(second[i].end(), opened[i].tokens.begin(), opened[i].tokens.end());
      second[i].push_back(7);
      engine.extend(ids[i], request_of(second[i], went_on[i]));
    }
    run_out(engine);
    for (const RequestId id : ids) engine.forget(id);
    run_out(engine);
    EXPECT_EQ(engine.stats().held, 0);
  });
  const auto oracle = alone(first), oracle_of_second = alone(second);
  for (int i = 0; i < kTalks; ++i) {
    EXPECT_EQ(opened[i].tokens, oracle[i]) << i;
    EXPECT_EQ(went_on[i].tokens, oracle_of_second[i]) << i;
    EXPECT_EQ(went_on[i].read, 2) << i;
  }
}

// Saved by the second group of two, taken up by the second of three while the first is busy.
TEST_F(GroupsTest, AConversationLeavesForFilesAndGoesOnInAnotherGroup) {
  const std::string file = (folder_ / "talk.session").string();
  std::mt19937 random(7);
  Tokens whole = random_tokens(random, 17);
  Heard other, first, busy, second;
  open(two_groups(), [&](Engine& engine) {
    engine.submit(request_of(random_tokens(random, 30), other));
    EngineRequest request = request_of(whole, first);
    request.room = engine.room();
    const RequestId id = engine.submit(std::move(request));
    while (!engine.holds(id)) EXPECT_TRUE(engine.step());
    const HeldConversation held = engine.held(id);
    SessionIndex index{.generation = new_generation(),
                       .page_tokens = 4,
                       .tokens = held.tokens,
                       .computed = held.computed};
    index.terms = {.layers = test::TinyLlama{}.layers, .kv_heads = 2, .head_dim = 16};
    index.parts = engine.save_pages({id, file, index.generation, index.computed, 2});
    EXPECT_EQ(index.parts.size(), 2u) << "of its group's ranks";
    commit_session(file, index);
    run_out(engine);
  });
  whole = read_index(file).tokens;
  whole.push_back(7);
  JobOptions options = two_groups();
  options.degree = 1;
  options.groups = 3;
  open(options, [&](Engine& engine) {
    engine.submit(request_of(random_tokens(random, 50), busy));
    EXPECT_TRUE(engine.step());
    const auto id = engine.restore(file, read_index(file), 80);
    ASSERT_TRUE(id);
    engine.extend(*id, request_of(whole, second));
    run_out(engine);
  });
  EXPECT_EQ(second.read, 2);
  EXPECT_EQ(second.tokens, alone({whole})[0]);
  EXPECT_EQ(other.finished.size() + busy.finished.size(), 2u);
}

/// `prompt` and `own` tokens behind it.
Tokens behind(const Tokens& prompt, std::mt19937& random, std::int64_t own) {
  Tokens longer = prompt;
  const Tokens more = random_tokens(random, own);
  longer.insert(longer.end(), more.begin(), more.end());
  return longer;
}

// The first group reads a prompt, and then is busy with another; so a third goes to the second
// group, and begins behind copies. A fourth finds the pages where they always were.
TEST_F(GroupsTest, WhatABusyGroupHasComputedIsCopiedAndStaysWhereItWas) {
  std::mt19937 random(9);
  const Tokens header = random_tokens(random, 41);
  const std::vector<Tokens> list{header, random_tokens(random, 60), behind(header, random, 5),
                                 behind(header, random, 7)};
  for (const KvType type : {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8}) {
    std::vector<std::vector<Tokens>> answers;
    for (const int degree : {0, 1, 2, 3}) {  // 0: one by one on one rank, sharing nothing
      SCOPED_TRACE(str("{}, degree {}", name(type), degree));
      JobOptions options{.degree = std::max(degree, 1),
                         .groups = degree == 0 ? 1 : 2,
                         .page_tokens = 4,
                         .chunk_tokens = 20,
                         .kv_type = type,
                         .max_running = 6,
                         .prefix_cache = degree > 0};
      std::vector<Heard> heard(list.size());
      open(options, [&](Engine& engine) {
        engine.submit(request_of(list[0], heard[0]));
        run_out(engine);
        for (const int i : {1, 2}) engine.submit(request_of(list[i], heard[i], 12));
        run_out(engine);
        engine.submit(request_of(list[3], heard[3]));
        run_out(engine);
        if (degree == 0) return;
        EXPECT_EQ(engine.stats().prefixes_replicated, 1);
        EXPECT_EQ(engine.stats().prefixes_joined, 1);
        EXPECT_EQ(engine.stats().copied_tokens, 40);
        EXPECT_EQ(engine.stats().kv_in_use, 0);
        EXPECT_EQ(heard[2].read, 6);
        EXPECT_EQ(heard[3].read, 8);
      });
      answers.emplace_back();
      for (const Heard& one : heard) answers.back().push_back(one.tokens);
      EXPECT_EQ(answers.back(), answers.front());
    }
  }
}

// Each rank has its part of the page from the rank that has the same part.
TEST_F(GroupsTest, InstancesOfSeveralRanksCopyTheirPartsAndAPageIsThereWhenAllAre) {
  std::mt19937 random(11);
  const Tokens header = random_tokens(random, 41);
  const std::vector<Tokens> list{header, random_tokens(random, 60), behind(header, random, 5)};
  const auto oracle = alone(list, 12);
  JobOptions options = two_groups();
  options.degree = 1;
  const EngineSetup setup{.shapes = std::vector(6, RequestShape{.room = 80})};
  std::vector<Heard> heard(list.size());
  test::run_machines(4, [&](Machine& machine) {
    LoadedModel model =
        load_model(machine, open_model(machine, (folder_ / "model.gguf").string()), {.tp = 2});
    Engine::open(machine, model, options, machine.rank() == 0 ? &setup : nullptr,
                 [&](Engine& engine) {
                   engine.submit(request_of(list[0], heard[0], 12));
                   run_out(engine);
                   for (const int i : {1, 2}) engine.submit(request_of(list[i], heard[i], 12));
                   run_out(engine);
                   EXPECT_EQ(engine.stats().copied_tokens, 40);
                 });
  });
  for (std::size_t i = 0; i < list.size(); ++i) EXPECT_EQ(heard[i].tokens, oracle[i]) << i;
}

// Of prompts that begin alike, some ended while pages are on their way to them.
TEST_F(GroupsTest, CopiesInAnyOrderChangeNoToken) {
  std::mt19937 random(10);
  std::vector<Tokens> list;
  for (int header = 0; header < 3; ++header) {
    const Tokens common = random_tokens(random, 20 + random() % 20);
    for (int i = 0; i < 10; ++i) list.push_back(behind(common, random, 1 + random() % 20));
  }
  std::ranges::shuffle(list, random);
  const auto oracle = alone(list);
  std::int64_t copied = 0;
  for (const Setting& setting : {Setting{PolicyKind::kReplicas, 1, 3, 0},
                                 {PolicyKind::kStaticSp, 2, 2, 0},
                                 {PolicyKind::kStaticSp, 3, 2, 1}}) {
    SCOPED_TRACE(str("{} groups of {}", setting.groups, setting.degree));
    std::vector<Heard> heard(list.size());
    JobOptions options{.degree = setting.degree,
                       .groups = setting.groups,
                       .policy = setting.policy,
                       .page_tokens = 4,
                       .chunk_tokens = 8,
                       .max_running = 3 * setting.groups};
    const auto serve = [&](Engine& engine) {
      std::vector<RequestId> ids;
      for (std::size_t i = 0; i < list.size(); ++i) {
        ids.push_back(engine.submit(request_of(list[i], heard[i])));
        for (int steps = static_cast<int>(random() % 3); steps > 0; --steps) (void)engine.step();
        const std::size_t one = random() % ids.size();
        if (random() % 6 == 0 && heard[one].finished.empty()) engine.abort(ids[one]);
      }
      run_out(engine);
      copied += engine.stats().copied_tokens;
      EXPECT_EQ(engine.stats().kv_in_use + engine.stats().kv_promised, 0);
    };
    open(options, serve, nullptr, setting.idle);
    for (std::size_t i = 0; i < list.size(); ++i) {
      ASSERT_EQ(heard[i].finished.size(), 1u) << i;
      if (heard[i].finished[0].ending == Ending::kAborted) continue;
      EXPECT_EQ(heard[i].tokens, oracle[i]) << i;
    }
  }
  EXPECT_GT(copied, 0);
}

TEST_F(GroupsTest, WhatIsLongerThanAGroupsPoolIsRefusedAtTheDoorWithTheNumbers) {
  Heard heard;
  open({.groups = 2, .policy = PolicyKind::kReplicas, .page_tokens = 4, .max_running = 2},
       [&](Engine& engine) {
         EXPECT_THAT([&] { engine.submit(request_of(Tokens(80), heard, 2)); },
                     ThrowsMessage<UsageError>(AllOf(
                         HasSubstr("82 tokens"), HasSubstr("each group has 20; one of 81 tokens"),
                         HasSubstr("--degree"))));
         engine.submit(request_of(Tokens(75), heard, 5));
         run_out(engine);
       });
  EXPECT_EQ(heard.tokens.size(), 5u);
}

TEST_F(GroupsTest, TheStateOfEachGroupIsWrittenBetweenItsSteps) {
  const auto list = prompts(8, 4);
  std::vector<Heard> heard(list.size());
  bool wanted = true;
  JobOptions options = two_groups();
  options.state_wanted = [&] { return std::exchange(wanted, false); };
  ::setenv("TMPDIR", folder_.path().c_str(), 1);
  open(options, [&](Engine& engine) {
    for (std::size_t i = 0; i < list.size(); ++i) engine.submit(request_of(list[i], heard[i]));
    (void)engine.step();
    wanted = true;
    run_out(engine);
  });
  ::unsetenv("TMPDIR");
  std::vector<int> states(2);
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    const std::string name = entry.path().filename();
    for (const int group : {0, 1})
      states[group] += name.find(str("group-{}-", group)) < name.size();
  }
  EXPECT_THAT(states, ElementsAre(2, 2));
}

}  // namespace
}  // namespace longspan

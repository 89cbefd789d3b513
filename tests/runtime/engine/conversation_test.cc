// Conversations: a request that is held at its end and goes on, turn after turn. Each turn gives
// the tokens that one long prompt gives, and computes of its prompt only what is new.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "attention/usable_strategies.h"
#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using Tokens = std::vector<TokenId>;

constexpr std::int64_t kRoom = 260;
constexpr std::int64_t kMaxNew = 6;

/// What became of one turn.
struct Turn {
  Tokens prompt;
  Tokens tokens;
  std::vector<double> logprobs;
  std::int64_t kept = 0;
  std::int64_t prefilled = 0;  // rows of its chunks, counted

  Tokens whole() const {
    Tokens all = prompt;
    all.insert(all.end(), tokens.begin(), tokens.end());
    return all;
  }
};

/// The prompt of turn `i`, given those before it.
using Script = std::function<Tokens(int i, const std::vector<Turn>& before)>;

Tokens random_tokens(std::mt19937& random, std::int64_t count) {
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 256);
  return tokens;
}

/// Each message follows all that was said before; the first is the longest.
Tokens append(int i, const std::vector<Turn>& before) {
  constexpr std::array kLengths{33, 1, 2, 16, 5, 31, 1, 12, 17, 3};
  std::mt19937 random(i + 1);
  Tokens prompt = before.empty() ? Tokens() : before.back().whole();
  const Tokens message = random_tokens(random, kLengths[i]);
  prompt.insert(prompt.end(), message.begin(), message.end());
  return prompt;
}

/// What was said before is told otherwise from some position on: from the middle of the last
/// answer, inside an earlier prompt, from the first token, or it is only cut short.
Tokens edited(int i, const std::vector<Turn>& before) {
  constexpr std::array kNumerators{0, 19, 3, 20, 0, 10, 20, 13, 17, 20};  // of 20ths that stay
  Tokens prompt = append(i, before);
  if (before.empty()) return prompt;
  const std::size_t from = before.back().whole().size() * kNumerators[i] / 20;
  if (i % 3 == 0) {
    prompt.resize(std::max<std::size_t>(from, 1));
  } else if (from < prompt.size()) {
    prompt[from] = (prompt[from] + 1) % 256;
  }
  return prompt;
}

struct Setting {
  JobOptions options;
  int ranks = 1;
  int tp = 1;
  Sampling sampling;
  std::optional<LayerRopes> ropes;
};

class ConversationTest : public testing::Test {
 protected:
  ConversationTest() {
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = 3;
    model.seed = 5;
    model.write(path());
  }

  std::filesystem::path path() const { return folder_ / "model.gguf"; }

  /// Runs a session of one conversation, of which rank 0 does `talk`.
  void session(const Setting& setting, Coordinator::Listener listener,
               const std::function<void(Coordinator&)>& talk,
               std::vector<RankSummary>* summaries = nullptr) const {
    test::run_machines(setting.ranks, [&](Machine& machine) {
      LoadedModel model =
          load_model(machine, open_model(machine, path().string()), {.tp = setting.tp});
      if (setting.ropes) model.config.ropes = *setting.ropes;
      SessionInput input{.shapes = {{.room = kRoom}}, .listener = listener, .drive = talk};
      const bool coordinator = machine.rank() == 0;
      const auto all = run_session(machine, model, setting.options, coordinator ? &input : nullptr);
      if (coordinator && summaries) *summaries = all;
    });
  }

  static Coordinator::Listener listener(std::vector<Turn>& turns) {
    return {.prefill = [&](const Progress& chunk) { turns.back().prefilled += chunk.prompt_chunk; },
            .layer = nullptr,
            .token =
                [&](RequestId, const Scored& scored) {
                  turns.back().tokens.push_back(scored.chosen.id);
                  turns.back().logprobs.push_back(scored.chosen.logprob);
                },
            .nll = [](RequestId, double) {}};
  }

  static Admission admission(const Setting& setting, const Tokens& prompt, RequestId id = 0) {
    return {.request = id, .prompt = prompt, .top = 1, .sampling = setting.sampling};
  }

  std::vector<Turn> talk(const Setting& setting, const Script& script, int count = 10,
                         std::vector<RankSummary>* summaries = nullptr) const {
    std::vector<Turn> turns;
    const auto run_turns = [&](Coordinator& coordinator) {
      for (int i = 0; i < count; ++i) {
        turns.push_back({.prompt = script(i, turns)});
        Turn& turn = turns.back();
        if (i == 0) {
          EXPECT_TRUE(coordinator.submit(admission(setting, turn.prompt), kMaxNew, false, kRoom));
        } else {
          EXPECT_TRUE(coordinator.holds(0));
          turn.kept = coordinator.extend(admission(setting, turn.prompt), kMaxNew).value_or(-1);
        }
        while (coordinator.step()) continue;
      }
    };
    session(setting, listener(turns), run_turns, summaries);
    return turns;
  }

  /// Each turn's prompt as a request of its own, on as many ranks as the setting says.
  std::vector<Turn> from_scratch(const Setting& setting, const std::vector<Turn>& turns) const {
    std::vector<Turn> fresh;
    const auto ask_each = [&](Coordinator& coordinator) {
      for (const Turn& turn : turns) {
        const RequestId id = std::ssize(fresh);
        fresh.push_back({.prompt = turn.prompt});
        EXPECT_TRUE(coordinator.submit(admission(setting, turn.prompt, id), kMaxNew, false, kRoom));
        while (coordinator.step()) continue;
        coordinator.forget(id);
      }
    };
    session(setting, listener(fresh), ask_each);
    return fresh;
  }

  /// The same prompts, tokens and log-probabilities.
  static void expect_same(const std::vector<Turn>& turns, const std::vector<Turn>& oracle,
                          const std::string& what, double tolerance = 1e-4) {
    ASSERT_EQ(turns.size(), oracle.size()) << what;
    for (std::size_t i = 0; i < turns.size(); ++i) {
      ASSERT_EQ(turns[i].prompt, oracle[i].prompt) << what << ", turn " << i;
      ASSERT_EQ(turns[i].tokens, oracle[i].tokens) << what << ", turn " << i;
      for (std::size_t t = 0; t < oracle[i].logprobs.size(); ++t) {
        EXPECT_NEAR(turns[i].logprobs[t], oracle[i].logprobs[t], tolerance)
            << what << ", turn " << i << ", token " << t;
      }
    }
  }

  /// All that both have is kept but for the answer's last token, which was never computed, and the
  /// prompt's last, whose row samples. Pages of `whole` tokens, if any, are kept whole unless they
  /// were never full.
  static void expect_only_the_new_was_read(const std::vector<Turn>& turns, const std::string& what,
                                           std::int64_t whole = 1) {
    for (std::size_t i = 0; i < turns.size(); ++i) {
      std::int64_t kept = 0;
      if (i > 0) {
        Tokens cached = turns[i - 1].whole();
        cached.pop_back();
        const auto common = std::ranges::mismatch(cached, turns[i].prompt).in1 - cached.begin();
        kept = std::min<std::int64_t>(common, std::ssize(turns[i].prompt) - 1);
        if (kept / whole != std::ssize(cached) / whole) kept = kept / whole * whole;
      }
      EXPECT_EQ(turns[i].kept, kept) << what << ", turn " << i;
      EXPECT_EQ(turns[i].prefilled, std::ssize(turns[i].prompt) - kept) << what << ", turn " << i;
    }
  }

  static SplitSetting split_of(int degree) {
    return {.heads = {.query_heads = 6, .kv_heads = 3, .head_dim = 16},
            .hosts = std::vector<int>(degree, 0)};
  }

  test::TemporaryDirectory folder_;
};

TEST_F(ConversationTest, TenTurnsGiveTheTokensOfOneLongPromptHoweverTheSequenceIsSplit) {
  const std::vector<std::pair<std::string, Script>> scripts{{"appended", append},
                                                            {"edited", edited}};
  constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kFolded, DealtBy::kStriped,
                                DealtBy::kZigzag, DealtBy::kContiguous};
  std::mt19937 random(4);
  for (const auto& [name, script] : scripts) {
    const std::vector<Turn> oracle = from_scratch({}, talk({}, script));
    expect_only_the_new_was_read(talk({}, script), name + " on one rank");
    int runs = 0;
    for (int degree : {1, 3, 4}) {
      for (Strategy strategy : kStrategies) {
        const auto plans = usable_plans(strategy, split_of(degree));
        if (plans.empty()) continue;
        const bool anywhere = passes_keys(strategy);
        Setting setting{.ranks = degree};
        setting.options = {
            .degree = degree,
            .page_tokens = std::int64_t{1} << random() % 6,
            .layout = kLayouts[random() % (anywhere ? 5 : 2)],
            .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 50),
            .keep = anywhere && random() % 2 ? Retention::kFewest : Retention::kSpread,
            .plans = {plans[random() % plans.size()]},
            .decode_strategy = kDecodeStrategies[random() % kDecodeStrategies.size()]};
        const std::string what =
            str("{}, {} on {} ranks, layout {}, pages of {}, chunks of {}, keep {}", name,
                describe(setting.options.plans.front(), degree), degree,
                static_cast<int>(setting.options.layout), setting.options.page_tokens,
                *setting.options.chunk_tokens, static_cast<int>(setting.options.keep));
        const std::vector<Turn> turns = talk(setting, script);
        expect_same(turns, oracle, what);
        expect_only_the_new_was_read(turns, what);
        ++runs;
      }
    }
    EXPECT_GT(runs, 8);
  }
}

TEST_F(ConversationTest, InstancesOfSeveralRanksAndIdleOnesGiveTheSame) {
  const std::vector<Turn> oracle = talk({}, edited);
  for (int instances : {1, 2}) {
    Setting setting{.options = {.degree = instances, .page_tokens = 4}, .ranks = 6, .tp = 3};
    const std::vector<Turn> turns = talk(setting, edited);
    expect_same(turns, oracle, str("{} of two instances of three", instances));
    expect_only_the_new_was_read(turns, str("{} instances", instances));
  }
}

TEST_F(ConversationTest, PenaltiesLookBackAsInOneLongPromptAndDrawsAreTheSame) {
  const Sampling sampling{.temperature = 0.8,
                          .repetition_penalty = 1.4,
                          .presence_penalty = 0.7,
                          .frequency_penalty = 0.4,
                          .seed = 8};
  const std::vector<Turn> turns = talk({.sampling = sampling}, append);
  const std::vector<Turn> oracle = from_scratch({.sampling = sampling}, turns);
  expect_same(turns, oracle, "one rank");
  Setting setting{.options = {.degree = 3, .page_tokens = 8}, .ranks = 3, .sampling = sampling};
  expect_same(talk(setting, append), oracle, "three ranks");
}

// What is cut off a rounded page cannot be had again, so such pages are kept whole.
TEST_F(ConversationTest, NarrowPagesGiveWhatOneRankGivesAndNearlyWhatALongPromptGives) {
  for (KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    for (std::int64_t page_tokens : {1, 4, 16, 512}) {
      const std::string what = str("{} pages of {}", name(type), page_tokens);
      const bool rounds = type == KvType::kInt8;
      Setting setting{.options = {.page_tokens = page_tokens, .kv_type = type}};
      for (const auto script : {append, edited}) {
        const std::vector<Turn> turns = talk(setting, script);
        expect_only_the_new_was_read(turns, what, rounds ? page_tokens : 1);
        const std::vector<Turn> fresh = from_scratch(setting, turns);
        for (std::size_t i = 0; i < turns.size(); ++i) {
          EXPECT_NEAR(turns[i].logprobs.front(), fresh[i].logprobs.front(), rounds ? 0.2 : 0.02)
              << what << ", turn " << i;
        }
        Setting split = setting;
        split.ranks = 3;
        split.options.degree = 3;
        split.options.keep = page_tokens == 4 ? Retention::kFewest : Retention::kSpread;
        expect_same(talk(split, script), turns, what, rounds ? 5e-3 : 1e-3);
      }
    }
  }
}

// Each turn's keys are turned for the whole room, so that those of the turns before stay right.
TEST_F(ConversationTest, RulesThatDependOnTheLengthAreThoseOfTheRoom) {
  Setting setting{
      .options = {.degree = 3, .page_tokens = 4},
      .ranks = 3,
      .ropes = LayerRopes({.scaling = RopeScaling::kDynamic, .factor = 2, .original_context = 32})};
  const std::vector<Turn> turns = talk(setting, append);
  expect_same(turns, from_scratch(setting, turns), "dynamic");
  setting.ropes.reset();
  EXPECT_NE(turns.back().logprobs, talk(setting, append).back().logprobs);
}

TEST_F(ConversationTest, AnAnswerThatIsEndedEarlyStaysAsFarAsItCame) {
  for (int degree : {1, 3}) {
    Setting setting{.options = {.degree = degree, .page_tokens = 4, .chunk_tokens = 10},
                    .ranks = degree};
    std::mt19937 random(2);
    const Tokens prompt = random_tokens(random, 35);
    std::vector<Turn> turns;
    session(setting, listener(turns), [&](Coordinator& coordinator) {
      turns.push_back({.prompt = prompt});
      EXPECT_TRUE(coordinator.submit(admission(setting, prompt), kMaxNew, false, kRoom));
      EXPECT_TRUE(coordinator.step());
      EXPECT_TRUE(coordinator.step());
      coordinator.end(0);  // 20 of 35 are read
      EXPECT_FALSE(coordinator.step());

      turns.push_back({.prompt = prompt});
      turns.back().kept = coordinator.extend(admission(setting, prompt), kMaxNew).value_or(-1);
      for (int i = 0; i < 4; ++i) EXPECT_TRUE(coordinator.step());
      coordinator.end(0);  // of the answer there are three tokens, two of them computed
      EXPECT_FALSE(coordinator.step());

      turns.push_back({.prompt = append(3, turns)});
      turns.back().kept =
          coordinator.extend(admission(setting, turns.back().prompt), kMaxNew).value_or(-1);
      while (coordinator.step()) continue;
    });
    EXPECT_EQ(turns[0].prefilled, 20);
    EXPECT_TRUE(turns[0].tokens.empty());
    EXPECT_EQ(turns[1].kept, 20);
    EXPECT_EQ(turns[1].prefilled, 15);
    ASSERT_EQ(turns[1].tokens.size(), 3u);
    EXPECT_EQ(turns[2].kept, 37);
    EXPECT_EQ(turns[2].prefilled, 1 + 16);
    const std::vector<Turn> oracle = from_scratch({}, {turns[1], turns[2]});
    expect_same({turns[2]}, {oracle[1]}, "after two ends");
    EXPECT_TRUE(std::ranges::equal(turns[1].tokens, std::span(oracle[0].tokens).first(3)));
  }
}

TEST_F(ConversationTest, AStopEndsTheTurnAndIsReadOnlyWithTheNextPrompt) {
  const Turn free = talk({}, append, 1).front();
  const auto stop = std::ranges::find_if(
      free.tokens, [&](TokenId token) { return token != free.tokens.front(); });
  ASSERT_NE(stop, free.tokens.end());
  Setting setting{.options = {.degree = 2}, .ranks = 2, .sampling = {.stops = {*stop}}};
  const std::vector<Turn> turns = talk(setting, append);
  EXPECT_EQ(std::ssize(turns[0].tokens), stop - free.tokens.begin() + 1);
  expect_only_the_new_was_read(turns, "with a stop");
  expect_same(turns, from_scratch(setting, turns), "with a stop");
}

TEST_F(ConversationTest, WhatNoLongerFitsIsRefusedAndNothingIsLost) {
  Setting setting{.options = {.degree = 3, .page_tokens = 4}, .ranks = 3};
  std::mt19937 random(2);
  const Tokens first = random_tokens(random, 40), long_one = random_tokens(random, kRoom);
  std::vector<Turn> turns;
  session(setting, listener(turns), [&](Coordinator& coordinator) {
    turns.push_back({.prompt = first});
    EXPECT_FALSE(coordinator.submit(admission(setting, long_one), 1, false, kRoom));
    EXPECT_TRUE(coordinator.submit(admission(setting, first), kMaxNew, false, kRoom));
    while (coordinator.step()) continue;
    turns.push_back({.prompt = turns.back().whole()});
    EXPECT_FALSE(coordinator.extend(admission(setting, long_one), 1));
    EXPECT_TRUE(coordinator.holds(0));
    EXPECT_FALSE(coordinator.extend(admission(setting, turns.back().prompt), kRoom - 45));
    turns.back().kept =
        coordinator.extend(admission(setting, turns.back().prompt), kRoom - 46).value_or(-1);
    while (coordinator.step()) continue;
  });
  EXPECT_EQ(turns[1].kept, 45);
  EXPECT_EQ(std::ssize(turns[1].whole()), kRoom);  // to the last of its room
  EXPECT_EQ(turns[1].tokens.front(), from_scratch({}, {turns[1]}).front().tokens.front());
}

// The pages of one conversation are all there are: the next one has them.
TEST_F(ConversationTest, AForgottenConversationMakesRoomForAnother) {
  for (KvType type : {KvType::kFloat32, KvType::kInt8}) {
    Setting setting{.options = {.degree = 3, .page_tokens = 4, .kv_type = type}, .ranks = 3};
    std::vector<Turn> turns;
    std::vector<RankSummary> summaries;
    session(
        setting, listener(turns),
        [&](Coordinator& coordinator) {
          for (RequestId id = 0; id < 5; ++id) {
            turns.push_back({.prompt = append(0, {})});
            EXPECT_TRUE(coordinator.submit(admission(setting, turns.back().prompt, id), kMaxNew,
                                           false, kRoom));
            while (coordinator.step()) continue;
            coordinator.forget(id);
            EXPECT_FALSE(coordinator.holds(id));
          }
        },
        &summaries);
    for (const Turn& turn : turns) EXPECT_EQ(turn.tokens, turns.front().tokens);
    for (const RankSummary& rank : summaries) EXPECT_LE(rank.kv_pages_used, 4);
  }
}

TEST_F(ConversationTest, ARoomThatGivesWayIsWhatMemoryHolds) {
  test::run_machines(2, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, path().string()), {});
    constexpr std::int64_t kHuge = std::int64_t{1} << 30;
    const JobOptions options{.degree = 2, .memory_limit = 8 << 20};
    SessionInput input{.shapes = {{.room = kHuge}},
                       .room_gives_way = true,
                       .listener = {.prefill = [](const Progress&) {},
                                    .layer = nullptr,
                                    .token = [](RequestId, const Scored&) {},
                                    .nll = [](RequestId, double) {}}};
    input.drive = [&](Coordinator& coordinator) {
      const std::int64_t room = input.shapes.front().room;
      EXPECT_GT(room, 500);
      EXPECT_LT(room, 100'000);
      Admission last{.prompt = Tokens(room - 1, 7)};
      EXPECT_TRUE(coordinator.submit(last, 1, false, room));
      while (coordinator.step()) continue;
    };
    run_session(machine, model, options, machine.rank() == 0 ? &input : nullptr);

    SessionInput fixed{.shapes = {{.room = kHuge}}};
    try {
      run_session(machine, model, options, machine.rank() == 0 ? &fixed : nullptr);
      ADD_FAILURE() << "nobody threw";
    } catch (const OutOfMemory& error) {
      EXPECT_NE(std::string(error.what()).find("lower --max-model-len"), std::string::npos)
          << error.what();
    }
  });
}

}  // namespace
}  // namespace longspan

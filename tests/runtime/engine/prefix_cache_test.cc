// Prompts that begin alike, on ranks as threads: what one has computed the next does not compute,
// and every answer is that of the prompt alone.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "attention/usable_strategies.h"
#include "comm/str.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/engine/job_outcome.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using test::expect_same;
using test::split_tolerance;
using Tokens = std::vector<TokenId>;
using BetweenSteps = std::function<void(Coordinator&)>;

struct Outcome : test::Outcome {
  std::map<RequestId, std::int64_t> prefilled;  // positions that chunks computed
};

Tokens random_tokens(std::mt19937& random, std::int64_t count) {
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 256);
  return tokens;
}

Tokens joined(Tokens first, const Tokens& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

std::vector<JobRequest> requests_of(const std::vector<Tokens>& prompts, std::int64_t max_new = 5) {
  std::vector<JobRequest> list;
  for (const Tokens& prompt : prompts) {
    JobRequest request{.max_new = max_new};
    request.admission = {.request = std::ssize(list), .prompt = prompt, .top = 1};
    list.push_back(request);
  }
  return list;
}

/// Prompts that share first tokens with some before them, of any length, at a page's end or not.
std::vector<JobRequest> families(int seed, int count) {
  std::mt19937 random(seed);
  std::vector<Tokens> prompts;
  for (int i = 0; i < count; ++i) {
    Tokens prompt;
    if (!prompts.empty() && random() % 5 > 0) {
      prompt = prompts[random() % prompts.size()];
      prompt.resize(1 + random() % prompt.size());
    }
    prompts.push_back(joined(prompt, random_tokens(random, 1 + random() % 40)));
  }
  return requests_of(prompts);
}

class PrefixCacheTest : public testing::Test {
 protected:
  PrefixCacheTest() {
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = 2;
    model.seed = 5;
    model.write(folder_ / "model.gguf");
  }

  struct Setting {
    JobOptions options;
    LayerMasks masks{Mask::causal()};
    std::optional<LayerRopes> ropes;
    int tp = 1;
  };

  Outcome run(const Setting& setting, const std::vector<JobRequest>& list,
              const BetweenSteps& between_steps = nullptr) const {
    Outcome outcome;
    Coordinator::Listener listener = test::listener(outcome);
    listener.prefill = [&](const Progress& chunk) {
      std::int64_t& done = outcome.prefilled[chunk.request];
      done += chunk.prompt_chunk;
    };
    test::run_machines(setting.options.degree * setting.tp, [&](Machine& machine) {
      LoadedModel model = load_model(
          machine, open_model(machine, (folder_ / "model.gguf").string()), {.tp = setting.tp});
      model.config.masks = setting.masks;
      if (setting.ropes) model.config.ropes = *setting.ropes;
      JobInput input{.requests = list, .listener = listener, .between_steps = between_steps};
      auto ranks = run_job(machine, model, setting.options, machine.rank() == 0 ? &input : nullptr);
      if (machine.rank() == 0) outcome.ranks = std::move(ranks);
    });
    for (const JobRequest& request : list) {
      if (!request.wants_nll) outcome.nll[request.admission.request] = 0;
    }
    return outcome;
  }

  Outcome alone(Setting setting, const std::vector<JobRequest>& list) const {
    setting.options.prefix_cache = false;
    setting.options.max_running = 1;
    return run(setting, list);
  }

  static std::int64_t prefilled(const Outcome& outcome) {
    std::int64_t sum = 0;
    for (const auto& [id, tokens] : outcome.prefilled) sum += tokens;
    return sum;
  }

  static SplitSetting split_of(int degree) {
    return {.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16},
            .hosts = std::vector<int>(degree, 0)};
  }

  test::TemporaryDirectory folder_;
};

TEST_F(PrefixCacheTest, APrefixIsComputedOnceToAPageAndThePromptsLastTokenAlways) {
  std::mt19937 random(1);
  const Tokens base = random_tokens(random, 32);
  for (const auto& [shared, own, hit] :
       {std::tuple{32, 8, 32}, {32, 1, 32}, {32, 0, 24}, {31, 9, 24}, {8, 2, 8}, {7, 9, 0}}) {
    Tokens second = base;
    second.resize(shared);
    if (shared < 32 && own > 0) second.push_back((base[shared] + 1) % 256);
    const std::int64_t more = own - (std::ssize(second) - shared);
    second = joined(second, random_tokens(random, more));
    const auto list = requests_of({base, second});
    for (int degree : {1, 3}) {
      Setting setting{{.degree = degree, .page_tokens = 8, .max_running = 1}};
      const Outcome outcome = run(setting, list);
      const std::string what = str("{} shared, {} of its own, {} ranks", shared, own, degree);
      expect_same(outcome, alone({{.page_tokens = 8}}, list), what);
      EXPECT_EQ(outcome.prefilled.at(0), 32) << what;
      EXPECT_EQ(outcome.prefilled.at(1), std::ssize(second) - hit) << what;
    }
  }
}

TEST_F(PrefixCacheTest, FamiliesOfPromptsGiveTheTokensOfEachAlone) {
  constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kFolded, DealtBy::kStriped,
                                DealtBy::kZigzag, DealtBy::kContiguous};
  std::mt19937 random(4);
  const auto list = families(11, 24);
  const Outcome oracle = alone({}, list);
  for (int degree : {1, 2, 3, 4}) {
    for (Strategy strategy : kStrategies) {
      const auto plans = usable_plans(strategy, split_of(degree));
      if (plans.empty()) continue;
      const bool anywhere = passes_keys(strategy);
      const Setting setting{
          {.degree = degree,
           .page_tokens = std::int64_t{1} << random() % 5,
           .layout = kLayouts[random() % (anywhere ? 5 : 2)],
           .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 50),
           .keep = anywhere && random() % 2 ? Retention::kFewest : Retention::kSpread,
           .plans = {plans[random() % plans.size()]},
           .decode_strategy = kDecodeStrategies[random() % kDecodeStrategies.size()],
           .max_running = 1 + static_cast<int>(random() % 6)}};
      const Outcome outcome = run(setting, list);
      const std::string what =
          str("{} on {} ranks, layout {}, pages of {}, chunks of {}, keep {}, running {}",
              describe(setting.options.plans.front(), degree), degree,
              static_cast<int>(setting.options.layout), setting.options.page_tokens,
              *setting.options.chunk_tokens, static_cast<int>(setting.options.keep),
              setting.options.max_running);
      expect_same(outcome, oracle, what);
      EXPECT_LT(prefilled(outcome), prefilled(oracle)) << what;
    }
  }
}

// A hit ends where chunks do, so that the rows behind it see the same keys rounded.
TEST_F(PrefixCacheTest, NarrowPagesGiveTheTokensOfEachAloneInTheSameChunks) {
  std::mt19937 random(7);
  std::vector<Tokens> prompts{random_tokens(random, 100)};
  for (int own : {1, 9, 30}) {
    for (int shared : {95, 64, 50, 31}) {
      Tokens prompt = prompts.front();
      prompt.resize(shared);
      prompts.push_back(joined(prompt, random_tokens(random, own)));
    }
  }
  const auto list = requests_of(prompts);
  for (KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    for (const auto& [page, chunk] : {std::pair{8, 16}, {8, 12}, {16, 8}, {4, 30}}) {
      Setting setting{{.page_tokens = page, .chunk_tokens = chunk, .kv_type = type}};
      const Outcome oracle = alone(setting, list);
      for (int degree : {1, 3}) {
        setting.options.degree = degree;
        setting.options.max_running = degree;
        const std::string what =
            str("{} pages of {}, chunks of {}, {} ranks", name(type), page, chunk, degree);
        const Outcome outcome = run(setting, list);
        expect_same(outcome, oracle, what, degree > 1 ? split_tolerance(type) : 1e-4);
        const std::int64_t unit = std::lcm(page, chunk);
        EXPECT_EQ(outcome.prefilled.at(1), 96 - 95 / unit * unit) << what;
      }
    }
  }
}

// Two families behind a beginning of a few tokens: each is read once, though the first one has
// taken no name that the second needs.
TEST_F(PrefixCacheTest, NarrowFamiliesThatPartWithinAChunkAreReadOnceEach) {
  std::mt19937 random(9);
  const Tokens beginning = random_tokens(random, 8);
  std::vector<Tokens> prompts;
  for (int family = 0; family < 2; ++family) {
    const Tokens document = joined(beginning, random_tokens(random, 92));
    for (int i = 0; i < 2; ++i) prompts.push_back(joined(document, random_tokens(random, 5)));
  }
  const auto list = requests_of(prompts);
  Setting setting{{.degree = 2,
                   .page_tokens = 8,
                   .chunk_tokens = 32,
                   .kv_type = KvType::kBFloat16,
                   .max_running = 1}};
  const Outcome outcome = run(setting, list);
  expect_same(outcome, alone(setting, list), "two families", split_tolerance(KvType::kBFloat16));
  for (RequestId again : {1, 3}) EXPECT_EQ(outcome.prefilled.at(again), 105 - 96);
}

TEST_F(PrefixCacheTest, WindowsAndInstancesOfSeveralRanksGiveTheTokensOfEachAlone) {
  const auto list = families(3, 12);
  Setting setting{.options = {.degree = 2, .page_tokens = 4, .chunk_tokens = 24, .max_running = 3},
                  .masks = LayerMasks({Mask::window(11), Mask::causal()})};
  const Outcome windows = run(setting, list);
  expect_same(windows, alone({.options = {}, .masks = setting.masks}, list), "windows");
  setting.masks = LayerMasks(Mask::causal());
  setting.tp = 2;
  const Outcome wide = run(setting, list);
  const Outcome oracle = alone({}, list);
  expect_same(wide, oracle, "two instances of two");
  EXPECT_LT(prefilled(windows), prefilled(oracle));
  EXPECT_EQ(prefilled(wide), prefilled(windows));
}

// Ended at any moment: pages that were full stay for others, and those that were not are nobody's.
TEST_F(PrefixCacheTest, RequestsThatAreEndedLeaveTheOthersAsTheyAre) {
  const auto list = families(5, 24);
  const Outcome oracle = alone({}, list);
  for (int degree : {1, 3}) {
    for (int seed = 0; seed < 4; ++seed) {
      std::mt19937 random(seed);
      std::set<RequestId> ended;
      const auto end_some = [&](Coordinator& coordinator) {
        if (random() % 3 > 0) return;
        const auto id = static_cast<RequestId>(random() % list.size());
        coordinator.end(id);
        ended.insert(id);
      };
      const Setting setting{
          {.degree = degree, .page_tokens = 4, .chunk_tokens = 10, .max_running = 3}};
      const Outcome outcome = run(setting, list, end_some);
      int whole = 0;
      for (const auto& [id, tokens] : oracle.tokens) {
        const auto found = outcome.tokens.find(id);
        const Tokens got = found == outcome.tokens.end() ? Tokens() : found->second;
        EXPECT_TRUE(std::ranges::equal(got, std::span(tokens).first(got.size()))) << id;
        if (ended.contains(id)) continue;
        EXPECT_EQ(got, tokens) << id;
        ++whole;
      }
      EXPECT_GT(whole, 3);
    }
  }
}

// Wherever pages have gone, who begins behind them finds them there.
TEST_F(PrefixCacheTest, PagesThatMoveAreFoundWhereTheyAre) {
  const auto list = families(12, 24);
  const Outcome oracle = alone({}, list);
  std::mt19937 random(3);
  int moved = 0;
  const auto wander = [&](Coordinator& coordinator) {
    for (int i = 0; i < 40; ++i) {
      const auto request = static_cast<RequestId>(random() % list.size());
      const auto page = static_cast<std::int64_t>(random() % 8);
      moved += coordinator.move_page(request, page, static_cast<int>(random() % 3));
    }
  };
  for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
    const Outcome outcome = run({{.degree = 3,
                                  .page_tokens = 4,
                                  .chunk_tokens = 16,
                                  .keep = keep,
                                  .max_running = 4,
                                  .spare_pages = 2}},
                                list, wander);
    expect_same(outcome, oracle, str("keep {}", static_cast<int>(keep)));
    EXPECT_LT(prefilled(outcome), prefilled(oracle));
  }
  EXPECT_GT(moved, 50);
}

// All come at once. The first reads what they share, and they wait for that.
TEST_F(PrefixCacheTest, PromptsThatComeTogetherReadWhatTheyShareOnce) {
  std::mt19937 random(2);
  const Tokens base = random_tokens(random, 64);
  std::vector<Tokens> prompts;
  for (int i = 0; i < 6; ++i) prompts.push_back(joined(base, random_tokens(random, 10)));
  const auto list = requests_of(prompts);
  for (int degree : {1, 2}) {
    const Outcome outcome = run({{.degree = degree, .page_tokens = 8, .chunk_tokens = 40}}, list);
    expect_same(outcome, alone({}, list), str("{} ranks", degree));
    EXPECT_EQ(prefilled(outcome), 74 + 5 * 10);
  }
}

// The next turn of a conversation, sent as a prompt of its own: the last token of the answer before
// it was never computed. Where keys are rounded decode rounds them at other places than prefill,
// and of an answer nothing is found.
TEST_F(PrefixCacheTest, TheNextTurnFindsTheAnswerBeforeItWhereKeysAreNotRounded) {
  std::mt19937 random(6);
  for (int prompt : {5, 16, 30}) {
    const Tokens first = random_tokens(random, prompt);
    for (KvType type : {KvType::kFloat32, KvType::kBFloat16}) {
      Setting setting{{.page_tokens = 4, .chunk_tokens = 8, .kv_type = type, .max_running = 1}};
      const Tokens answer = alone(setting, requests_of({first}, 11)).tokens.at(0);
      const Tokens second = joined(joined(first, answer), random_tokens(random, 3));
      const auto list = requests_of({first, second}, 11);
      const Outcome oracle = alone(setting, list);
      for (int degree : {1, 3}) {
        setting.options.degree = degree;
        const Outcome outcome = run(setting, list);
        expect_same(outcome, oracle, str("{} tokens, {}, {} ranks", prompt, name(type), degree),
                    degree > 1 ? split_tolerance(type) : 1e-4);
        const std::int64_t found =
            type == KvType::kFloat32 ? (prompt + 10) / 4 * 4 : prompt / 8 * 8;
        EXPECT_EQ(outcome.prefilled.at(1), std::ssize(second) - found) << prompt;
      }
    }
  }
}

TEST_F(PrefixCacheTest, WhereAPromptsKeysDependOnMoreThanItsTokensNothingIsShared) {
  std::mt19937 random(2);
  const Tokens base = random_tokens(random, 40);
  auto list = requests_of({base, joined(base, {7}), joined(base, {8})});
  list[2].max_new = 4;  // as long as the first
  const auto prefilled_of = [&](const Setting& setting) {
    const Outcome outcome = run(setting, list);
    return std::vector{outcome.prefilled.at(0), outcome.prefilled.at(1), outcome.prefilled.at(2)};
  };
  const JobOptions options{.page_tokens = 8, .max_running = 2};
  EXPECT_EQ(prefilled_of({options}), (std::vector<std::int64_t>{40, 1, 1}));

  JobOptions off = options;
  off.prefix_cache = false;
  const std::vector<std::int64_t> all{40, 41, 41};
  EXPECT_EQ(prefilled_of({off}), all);
  JobOptions star = options;
  star.attention = {.kind = AttentionKind::kStar, .block_tokens = 16};
  EXPECT_EQ(prefilled_of({star}), all);
  EXPECT_EQ(prefilled_of({.options = options, .masks = LayerMasks(Mask::full())}), all);
  const Setting turned{
      .options = options,
      .ropes = LayerRopes({.scaling = RopeScaling::kDynamic, .factor = 2, .original_context = 32})};
  EXPECT_EQ(prefilled_of(turned), (std::vector<std::int64_t>{40, 41, 1}));

  list[1].wants_nll = true;
  JobOptions one_by_one = options;
  one_by_one.max_running = 1;
  EXPECT_EQ(prefilled_of({one_by_one}), (std::vector<std::int64_t>{40, 41, 1}));
}

// Memory for one request of the longest: what is kept of others gives way.
TEST_F(PrefixCacheTest, WhatIsKeptGivesWayToWhoRuns) {
  const auto list = families(8, 30);
  const Outcome oracle = alone({}, list);
  for (int degree : {1, 2, 4}) {
    for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
      const Outcome outcome =
          run({{.degree = degree, .page_tokens = 2, .keep = keep, .max_running = 1}}, list);
      expect_same(outcome, oracle, str("{} ranks", degree));
      EXPECT_LT(prefilled(outcome), prefilled(oracle));
    }
  }
}

}  // namespace
}  // namespace longspan

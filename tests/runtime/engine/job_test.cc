// Whole jobs on ranks as threads with a tiny random model: whatever the degree, layout, chunk, page
// size or retention, and whatever the masks of its layers, the tokens are those of one rank.
#include "runtime/engine/job.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "attention/usable_strategies.h"
#include "comm/str.h"
#include "comm/trace_file.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/engine/job_outcome.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using test::expect_same;
using test::Outcome;
using test::split_tolerance;

class JobTest : public testing::Test {
 protected:
  static std::filesystem::path path_;

  static void SetUpTestSuite() {
    path_ = std::filesystem::temp_directory_path() / str("longspan-job-test-{}.gguf", ::getpid());
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = 2;
    model.seed = 5;
    model.write(path_);
  }
  static void TearDownTestSuite() { std::filesystem::remove(path_); }

  static std::vector<JobRequest> requests(const std::vector<std::int64_t>& lengths,
                                          std::int64_t max_new = 20) {
    return test::job_requests(lengths, max_new);
  }

  /// With `traces` every rank writes a trace there; its lanes are short, so that they are drained
  /// while streams add to them.
  static Outcome run(int ranks, const JobOptions& options, const std::vector<JobRequest>& list,
                     const std::optional<std::filesystem::path>& traces = std::nullopt,
                     const LayerMasks& masks = LayerMasks(Mask::causal()),
                     const std::function<void(Coordinator&)>& between_steps = nullptr) {
    return run_model(path_, ranks, options, list, traces, masks, between_steps);
  }

  static Outcome run_model(const std::filesystem::path& path, int ranks, const JobOptions& options,
                           const std::vector<JobRequest>& list,
                           const std::optional<std::filesystem::path>& traces = std::nullopt,
                           const LayerMasks& masks = LayerMasks(Mask::causal()),
                           const std::function<void(Coordinator&)>& between_steps = nullptr) {
    Outcome outcome;
    test::run_machines(ranks, [&](Machine& machine) {
      std::optional<TraceFile> trace;
      if (traces) {
        trace.emplace(*traces, TraceOwner{.rank = machine.rank(), .ranks = ranks}, 512);
        machine.device().trace_into(&*trace);
      }
      LoadedModel model = load_model(machine, open_model(machine, path.string()), {});
      model.config.masks = masks;
      if (machine.rank() != 0) {
        run_job(machine, model, options, nullptr);
        return;
      }
      JobInput input{
          .requests = list, .listener = test::listener(outcome), .between_steps = between_steps};
      outcome.ranks = run_job(machine, model, options, &input);
    });
    return outcome;
  }

  static Outcome run(int ranks, const JobOptions& options, const std::vector<JobRequest>& list,
                     const LayerMasks& masks) {
    return run(ranks, options, list, std::nullopt, masks);
  }

  /// The test's model on ranks of one host.
  static SplitSetting setting(int degree) {
    return {.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16},
            .hosts = std::vector<int>(degree, 0)};
  }

  /// Calls visit(degree, plans) for each strategy that has plans on so many ranks.
  template <typename Visit>
  static void for_strategies_on(std::initializer_list<int> degrees, const Visit& visit) {
    for (int degree : degrees) {
      for (Strategy strategy : kStrategies) {
        const auto plans = usable_plans(strategy, setting(degree));
        if (!plans.empty()) visit(degree, plans);
      }
    }
  }

  /// Runs every strategy on a few degrees with options at random, but for the chunk.
  static void expect_same_everywhere(const std::vector<JobRequest>& list, const LayerMasks& masks,
                                     std::optional<std::int64_t> chunk, const Outcome& oracle,
                                     const std::string& what, const Approximation& attention = {}) {
    constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kFolded, DealtBy::kStriped,
                                  DealtBy::kZigzag, DealtBy::kContiguous};
    std::mt19937 random(3);
    for_strategies_on({2, 3, 6}, [&](int degree, const std::vector<PlannedStrategy>& plans) {
      const bool anywhere = passes_keys(plans.front().strategy);
      const JobOptions options{
          .degree = degree,
          .page_tokens = std::int64_t{1} << random() % 5,
          .layout = kLayouts[random() % (anywhere ? 5 : 2)],
          .chunk_tokens = chunk.value_or(1 + static_cast<std::int64_t>(random() % 60)),
          .keep = anywhere && random() % 2 ? Retention::kFewest : Retention::kSpread,
          .plans = {plans[random() % plans.size()]},
          .attention = attention};
      expect_same(
          run(degree, options, list, masks), oracle,
          str("{}, {} on {} ranks, layout {}, pages of {}, chunks of {}", what,
              describe(options.plans.front(), degree), degree, static_cast<int>(options.layout),
              options.page_tokens, *options.chunk_tokens));
    });
  }
};

std::filesystem::path JobTest::path_;

TEST_F(JobTest, EveryDegreeLayoutChunkPageAndRetentionGivesTheTokensOfOneRank) {
  const auto list = requests({1, 2, 7, 33, 100});
  const Outcome oracle = run(1, {.degree = 1}, list);
  ASSERT_EQ(oracle.tokens.size(), list.size());
  std::mt19937 random(1);
  constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kStriped, DealtBy::kZigzag,
                                DealtBy::kContiguous, DealtBy::kFolded};
  for (int degree : {1, 2, 3, 4, 5, 8}) {
    for (DealtBy layout : kLayouts) {
      JobOptions options{.degree = degree,
                         .page_tokens = std::int64_t{1} << random() % 6,
                         .layout = layout,
                         .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 120),
                         .keep = random() % 2 ? Retention::kSpread : Retention::kFewest,
                         .max_running = 1 + static_cast<int>(random() % 5)};
      expect_same(run(degree, options, list), oracle,
                  str("degree {}, layout {}, pages of {}, chunks of {}, keep {}, running {}",
                      degree, static_cast<int>(layout), options.page_tokens, *options.chunk_tokens,
                      static_cast<int>(options.keep), options.max_running));
    }
  }
}

/// Side by side, none a multiple of anything.
TEST_F(JobTest, PromptsOfVeryUnequalLengthsGiveTheTokensOfOneRank) {
  const auto list = requests({1, 7, 128, 450, 1}, 10);
  const Outcome oracle = run(1, {.degree = 1}, list);
  for (int degree : {2, 5}) {
    expect_same(run(degree, {.degree = degree, .chunk_tokens = 200}, list), oracle,
                str("{} ranks", degree));
  }
}

TEST_F(JobTest, EveryPrefillStrategyGivesTheTokensOfOneRank) {
  const auto list = requests({1, 2, 7, 33, 100});
  const Outcome oracle = run(1, {.degree = 1}, list);
  std::mt19937 random(2);
  int runs = 0;
  for_strategies_on({1, 2, 3, 4, 6}, [&](int degree, const std::vector<PlannedStrategy>& plans) {
    for (const PlannedStrategy& plan : plans) {
      const JobOptions options{.degree = degree,
                               .page_tokens = std::int64_t{1} << random() % 5,
                               .layout = random() % 2 ? DealtBy::kBlockCyclic : DealtBy::kFolded,
                               .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 120),
                               .plans = {plan},
                               .max_running = 1 + static_cast<int>(random() % 5)};
      expect_same(run(degree, options, list), oracle,
                  str("{} on {} ranks, pages of {}, chunks of {}", describe(plan, degree), degree,
                      options.page_tokens, *options.chunk_tokens));
      ++runs;
    }
  });
  EXPECT_GT(runs, 30);
}

// Chunk borders inside windows; windows of one key, inside a page or a rank's share, of everything.
TEST_F(JobTest, AlternatingWindowsGiveTheTokensOfOneRank) {
  const auto list = requests({1, 7, 33, 100}, 8);
  const Outcome causal = run(1, {.degree = 1}, list);
  for (std::int64_t window : {1, 5, 24, 1000}) {
    const LayerMasks masks({Mask::window(window), Mask::causal()});
    const Outcome oracle = run(1, {.degree = 1}, list, masks);
    if (window == 1000) {
      expect_same(oracle, causal, "a window of everything");
    } else {
      EXPECT_NE(oracle.nll, causal.nll) << window;
    }
    expect_same_everywhere(list, masks, std::nullopt, oracle, str("window {}", window));
  }
}

/// What decode says of a token is what prefill says of it.
TEST_F(JobTest, UnderAWindowDecodeContinuesWhatPrefillBegan) {
  auto list = requests({40}, 20);
  const LayerMasks masks(Mask::window(11));
  const JobOptions options{.degree = 3, .page_tokens = 4, .chunk_tokens = 16};
  const Outcome decoded = run(3, options, list, masks);
  double answer = 0;
  for (double logprob : decoded.logprobs.at(0)) answer -= logprob;
  for (TokenId token : decoded.tokens.at(0)) list[0].admission.prompt.push_back(token);
  const Outcome prefilled = run(3, options, list, masks);
  EXPECT_NEAR(prefilled.nll.at(0) - decoded.nll.at(0), answer, 1e-3);
}

/// Sizes for prompts of 1 to 100 tokens, around pages and chunks. What is chosen here leads what is
/// not by more than the rounding that differs between degrees: with 3 passing tokens two scores of
/// one block, 4.889564 and 4.889560, change places.
std::vector<Approximation> patterns() {
  constexpr auto kSinks = AttentionKind::kSinks, kStar = AttentionKind::kStar;
  constexpr auto kApb = AttentionKind::kApb, kSparse = AttentionKind::kBlockSparse;
  return {{.kind = kSinks, .sink_tokens = 1, .window_tokens = 1},
          {.kind = kSinks, .sink_tokens = 4, .window_tokens = 24},
          {.kind = kSinks, .sink_tokens = 17, .window_tokens = 16},
          {.kind = kStar, .block_tokens = 16},
          {.kind = kStar, .block_tokens = 33, .query_tokens = 5},
          {.kind = kStar, .block_tokens = 1, .query_tokens = 0},
          {.kind = kApb,
           .block_tokens = 16,
           .anchor_tokens = 4,
           .passing_tokens = 4,
           .observed_tokens = 5},
          {.kind = kSparse, .block_tokens = 8, .block_mass = 0.6},
          {.kind = kSparse, .block_tokens = 5, .block_mass = 0.3, .balances_rows = false}};
}

std::string described(const Approximation& attention) {
  return str("{}, sinks {}, window {}, blocks of {}", name(attention.kind), attention.sink_tokens,
             attention.window_tokens, attention.block_tokens);
}

TEST_F(JobTest, EveryPatternGivesTheTokensOfOneRank) {
  const auto list = requests({1, 7, 33, 100}, 8);
  const LayerMasks causal(Mask::causal());
  const Outcome exact = run(1, {.degree = 1}, list);
  for (const Approximation& attention : patterns()) {
    const Outcome oracle = run(1, {.degree = 1, .attention = attention}, list);
    EXPECT_NE(oracle.nll, exact.nll) << described(attention);
    expect_same_everywhere(list, causal, std::nullopt, oracle, described(attention), attention);
  }
}

TEST_F(JobTest, PatternsGiveTheTokensOfOneRankOnAnyDegreeHoweverTheyAreDecoded) {
  const auto list = requests({1, 40, 100}, 20);
  for (const Approximation& attention : {patterns()[1], patterns()[3], patterns()[7]}) {
    const Outcome oracle = run(1, {.degree = 1, .attention = attention}, list);
    for (int degree : {1, 2, 3, 4, 5, 7}) {
      for (DecodeStrategy strategy : kDecodeStrategies) {
        const JobOptions options{.degree = degree,
                                 .page_tokens = 4,
                                 .layout = degree % 2 ? DealtBy::kZigzag : DealtBy::kContiguous,
                                 .chunk_tokens = 13 * degree,
                                 .decode_strategy = strategy,
                                 .attention = attention};
        expect_same(run(degree, options, list), oracle,
                    str("{} on {} ranks, {}", name(strategy), degree, described(attention)));
      }
    }
  }
}

TEST_F(JobTest, APatternThatShowsEverythingIsExact) {
  const auto list = requests({1, 33, 100}, 8);
  const Outcome exact = run(1, {.degree = 1}, list);
  for (const Approximation& attention :
       {Approximation{.kind = AttentionKind::kSinks, .window_tokens = 200},
        Approximation{.kind = AttentionKind::kSinks, .sink_tokens = 200, .window_tokens = 1},
        Approximation{.kind = AttentionKind::kStar, .block_tokens = 200},
        Approximation{.kind = AttentionKind::kStar, .block_tokens = 9, .query_tokens = 100},
        Approximation{.kind = AttentionKind::kApb, .block_tokens = 9, .passing_tokens = 9},
        Approximation{.kind = AttentionKind::kBlockSparse, .block_tokens = 9, .block_mass = 1}}) {
    const JobOptions options{.degree = 3, .chunk_tokens = 30, .attention = attention};
    expect_same(run(3, options, list), exact, described(attention));
  }
}

/// What decode says of a token is what prefill says of it.
TEST_F(JobTest, UnderSinksDecodeContinuesWhatPrefillBegan) {
  auto list = requests({40}, 20);
  const Approximation sinks{.kind = AttentionKind::kSinks, .sink_tokens = 3, .window_tokens = 11};
  const JobOptions options{.degree = 3, .page_tokens = 4, .chunk_tokens = 16, .attention = sinks};
  const Outcome decoded = run(3, options, list);
  double answer = 0;
  for (double logprob : decoded.logprobs.at(0)) answer -= logprob;
  for (TokenId token : decoded.tokens.at(0)) list[0].admission.prompt.push_back(token);
  const Outcome prefilled = run(3, options, list);
  EXPECT_NEAR(prefilled.nll.at(0) - decoded.nll.at(0), answer, 1e-3);
}

/// Windowed layers see little already and keep their windows.
TEST_F(JobTest, PatternsReplaceOnlyTheCausalLayers) {
  const auto list = requests({33, 100}, 8);
  const LayerMasks mixed({Mask::window(9), Mask::causal()});
  const LayerMasks as_sinks({Mask::window(9), Mask::sinks(3, 20)});
  const Approximation sinks{.kind = AttentionKind::kSinks, .sink_tokens = 3, .window_tokens = 20};
  expect_same(run(3, {.degree = 3, .attention = sinks}, list, mixed),
              run(1, {.degree = 1}, list, as_sinks), "a window and sinks");
}

/// A row sees the columns of every rank up to the chunk's end: one chunk, the whole prompt.
TEST_F(JobTest, FullAttentionGivesTheTokensOfOneRank) {
  const auto list = requests({1, 7, 33, 100}, 8);
  const LayerMasks masks(Mask::full());
  const Outcome oracle = run(1, {.degree = 1, .chunk_tokens = 100}, list, masks);
  EXPECT_NE(oracle.nll, run(1, {.degree = 1}, list).nll);
  expect_same_everywhere(list, masks, 100, oracle, "full");
}

// Cached keys are the same rounded ones wherever they are, and a chunk's own are not rounded yet:
// the split changes nothing. Only where a prompt is cut into chunks does.
TEST_F(JobTest, NarrowPagesGiveTheTokensOfOneRankWithTheSameChunks) {
  const auto list = requests({1, 7, 33, 100}, 8);
  const Outcome exact = run(1, {.degree = 1, .chunk_tokens = 32}, list);
  for (KvType type : {KvType::kFloat16, KvType::kBFloat16, KvType::kInt8}) {
    const Outcome oracle = run(1, {.degree = 1, .chunk_tokens = 32, .kv_type = type}, list);
    EXPECT_NE(oracle.logprobs, exact.logprobs);
    const bool int8 = type == KvType::kInt8;
    for (RequestId id = 0; id < 4; ++id) {
      EXPECT_NEAR(oracle.nll.at(id), exact.nll.at(id), int8 ? 0.3 : 0.05);
    }
    for_strategies_on({2, 3, 6}, [&](int degree, const std::vector<PlannedStrategy>& plans) {
      const JobOptions options{
          .degree = degree, .chunk_tokens = 32, .kv_type = type, .plans = {plans.front()}};
      expect_same(run(degree, options, list), oracle,
                  str("{} by {} on {} ranks", name(type), describe(plans.front(), degree), degree),
                  split_tolerance(type));
    });
  }
}

// A target of no time at all cuts every chunk that may be cut to a page for each rank. Where keys
// are rounded that would show in the tokens: there nothing may be cut, whatever the time. Only who
// shares a step changes, and with it the last bits of products.
TEST_F(JobTest, ATargetChangesNoTokens) {
  const auto list = requests({1, 7, 33, 100, 64, 40}, 8);
  for (KvType type : {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8}) {
    for (int degree : {1, 3}) {
      JobOptions options{.degree = degree,
                         .page_tokens = 4,
                         .chunk_tokens = 48,
                         .kv_type = type,
                         .max_running = 6};
      int steps = 0;
      const auto count = [&](Coordinator&) { ++steps; };
      const auto run_counted = [&] {
        steps = 0;
        return run(degree, options, list, std::nullopt, LayerMasks(Mask::causal()), count);
      };
      const Outcome oracle = run_counted();
      const int untimed = steps;
      for (const int milliseconds : {0, 1, 1'000'000}) {
        options.tbt_target = std::chrono::milliseconds(milliseconds);
        const auto what = str("{} on {} ranks, {} ms", name(type), degree, milliseconds);
        expect_same(run_counted(), oracle, what, split_tolerance(type));
        const bool cuts = milliseconds == 0 && type == KvType::kFloat32;
        EXPECT_GE(steps, untimed + (cuts ? 5 : 0)) << what;
        EXPECT_TRUE(milliseconds < 1000 || steps == untimed) << what;
      }
    }
  }
}

// Buffers are made for so many rows, and a step with more is refused: chunks give way, and requests
// wait.
TEST_F(JobTest, ARankComputesNoMoreRowsThanItMay) {
  const auto list = requests({1, 7, 33, 100, 3, 5, 9, 2});
  const Outcome oracle = run(1, {.degree = 1, .chunk_tokens = 60}, list);
  std::mt19937 random(11);
  for (const int degree : {1, 2, 3}) {
    for (const std::int64_t rows : {1, 2, 5, 37, 40, 90}) {
      for (const DecodeStrategy decode : {DecodeStrategy::kShipped, DecodeStrategy::kMirrored}) {
        const JobOptions options{.degree = degree,
                                 .page_tokens = std::int64_t{1} << random() % 5,
                                 .chunk_tokens = 60,
                                 .max_step_tokens = rows,
                                 .decode_strategy = decode,
                                 .max_running = 6};
        expect_same(run(degree, options, list), oracle,
                    str("{} rows on {} ranks, pages of {}", rows, degree, options.page_tokens));
      }
    }
  }
}

// A page is rounded when it is full: by chunks that end inside it, by decode rows, on any rank.
TEST_F(JobTest, Int8PagesOfAnySizeGiveTheTokensOfOneRankWithTheSameChunks) {
  const auto list = requests({1, 7, 33, 100});
  std::mt19937 random(4);
  constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kStriped, DealtBy::kZigzag,
                                DealtBy::kContiguous, DealtBy::kFolded};
  constexpr std::array kPlans{PlannedStrategy{}, PlannedStrategy{Strategy::kAllGather}};
  for (std::int64_t page_tokens : {1, 2, 16, 1024}) {
    JobOptions options{.degree = 1, .page_tokens = page_tokens, .chunk_tokens = 29};
    const Outcome exact = run(1, options, list);
    options.kv_type = KvType::kInt8;
    const Outcome oracle = run(1, options, list);
    EXPECT_NE(oracle.logprobs, exact.logprobs);
    for (RequestId id = 0; id < 4; ++id) EXPECT_NEAR(oracle.nll.at(id), exact.nll.at(id), 0.3);
    for (int degree = 2; degree <= 7; ++degree) {
      options.degree = degree;
      options.layout = kLayouts[random() % kLayouts.size()];
      options.keep = random() % 2 ? Retention::kSpread : Retention::kFewest;
      options.plans = {kPlans[random() % kPlans.size()]};
      options.decode_strategy = kDecodeStrategies[random() % kDecodeStrategies.size()];
      options.max_running = 1 + static_cast<int>(random() % 4);
      expect_same(run(degree, options, list), oracle,
                  str("{} by {} on {} ranks, layout {}, pages of {}, running {}",
                      describe(options.plans.front(), degree), name(options.decode_strategy),
                      degree, static_cast<int>(options.layout), page_tokens, options.max_running),
                  split_tolerance(KvType::kInt8));
    }
  }
}

TEST_F(JobTest, Int8PagesUnderWindowsGiveTheTokensOfOneRank) {
  const auto list = requests({1, 7, 33, 100}, 8);
  for (std::int64_t window : {5, 24}) {
    const LayerMasks masks({Mask::window(window), Mask::causal()});
    JobOptions options{.page_tokens = 8, .chunk_tokens = 27, .kv_type = KvType::kInt8};
    options.degree = 1;
    const Outcome oracle = run(1, options, list, masks);
    for (const PlannedStrategy& plan :
         {PlannedStrategy{}, PlannedStrategy{Strategy::kAllGather},
          PlannedStrategy{Strategy::kGatherQuery}, PlannedStrategy{Strategy::kUlysses}}) {
      options.degree = 3;
      options.plans = {plan};
      expect_same(run(3, options, list, masks), oracle,
                  str("window {}, {}", window, describe(plan, 3)), split_tolerance(KvType::kInt8));
    }
  }
}

// Anchors end inside pages, rounded or not; prompts whose keys are chosen are kept in one chunk.
TEST_F(JobTest, PatternsOverNarrowPagesGiveTheTokensOfOneRank) {
  const auto list = requests({7, 33, 100}, 8);
  for (const Approximation& attention :
       {patterns()[2], patterns()[3], patterns()[6], patterns()[7]}) {
    for (KvType type : {KvType::kBFloat16, KvType::kInt8}) {
      JobOptions options{.page_tokens = 8, .kv_type = type, .attention = attention};
      if (!attention.needs_choice()) options.chunk_tokens = 27;
      const Outcome oracle = run(1, options, list);
      options.degree = 3;
      for (const PlannedStrategy& plan :
           {PlannedStrategy{}, PlannedStrategy{Strategy::kGatherQuery},
            PlannedStrategy{Strategy::kUlysses}}) {
        options.plans = {plan};
        expect_same(run(3, options, list), oracle,
                    str("{} over {}, {}", described(attention), name(type), describe(plan, 3)),
                    split_tolerance(type));
      }
    }
  }
}

// Pages wander between any two steps, in prefill and decode, on ranks with little room to spare.
TEST_F(JobTest, MovedPagesChangeNoToken) {
  const auto list = requests({1, 7, 33, 100});
  const Outcome oracle = run(1, {.degree = 1}, list);
  const Outcome rounded =
      run(1, {.degree = 1, .page_tokens = 8, .chunk_tokens = 24, .kv_type = KvType::kInt8}, list);
  std::mt19937 random(3);
  int moved = 0;
  const auto wander = [&](Coordinator& coordinator) {
    for (int i = 0; i < 6; ++i) {
      const auto request = static_cast<RequestId>(random() % 4);
      const auto page = static_cast<std::int64_t>(random() % 16);
      moved += coordinator.move_page(request, page, static_cast<int>(random() % 4));
    }
  };
  for (const PlannedStrategy& plan : {PlannedStrategy{}, PlannedStrategy{Strategy::kAllGather},
                                      PlannedStrategy{Strategy::kGatherQuery}}) {
    for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
      if (keep == Retention::kFewest && !passes_keys(plan.strategy)) continue;
      JobOptions options{.degree = 4,
                         .page_tokens = 8,
                         .chunk_tokens = 24,
                         .keep = keep,
                         .plans = {plan},
                         .spare_pages = 2};
      expect_same(run(5, options, list, std::nullopt, LayerMasks(Mask::causal()), wander), oracle,
                  describe(plan, 4));
      options.kv_type = KvType::kInt8;
      expect_same(run(5, options, list, std::nullopt, LayerMasks(Mask::causal()), wander), rounded,
                  describe(plan, 4) + " of int8", split_tolerance(KvType::kInt8));
    }
  }
  EXPECT_GT(moved, 50);
}

// On a link so slow that strategies change from chunk to chunk.
TEST_F(JobTest, AChoiceForEachChunkGivesTheTokensOfOneRank) {
  const auto list = requests({1, 7, 100, 200});
  const Outcome oracle = run(1, {.degree = 1}, list);
  std::set<Strategy> taken;
  for (int degree : {2, 3, 4, 6}) {
    JobOptions options{.degree = degree, .chunk_tokens = 64 * degree, .plans = {}};
    for (const UsableStrategy& usable : usable_strategies(setting(degree))) {
      if (!usable.refusal) options.plans.push_back(usable.plan);
    }
    for (double bytes_per_second : {1e5, 1e8}) {
      options.rates.inside_host = {1e-5, bytes_per_second};
      const Outcome outcome = run(degree, options, list);
      expect_same(outcome, oracle, str("{} ranks, links of {} B/s", degree, bytes_per_second));
      taken.insert(outcome.strategies.begin(), outcome.strategies.end());
    }
  }
  EXPECT_GE(taken.size(), 2u);
}

TEST_F(JobTest, EveryDecodeStrategyGivesTheTokensOfOneRank) {
  const auto list = requests({1, 2, 7, 33, 100});
  const Outcome oracle = run(1, {.degree = 1}, list);
  std::mt19937 random(3);
  for (int degree : {1, 2, 3, 4, 5, 7}) {
    for (DecodeStrategy strategy : kDecodeStrategies) {
      const JobOptions options{.degree = degree,
                               .page_tokens = std::int64_t{1} << random() % 5,
                               .layout = random() % 2 ? DealtBy::kBlockCyclic : DealtBy::kStriped,
                               .chunk_tokens = 1 + static_cast<std::int64_t>(random() % 120),
                               .keep = random() % 3 ? Retention::kSpread : Retention::kFewest,
                               .decode_strategy = strategy,
                               .max_running = 1 + static_cast<int>(random() % 5)};
      expect_same(run(degree, options, list), oracle,
                  str("{} on {} ranks, pages of {}, chunks of {}, keep {}, running {}",
                      name(strategy), degree, options.page_tokens, *options.chunk_tokens,
                      static_cast<int>(options.keep), options.max_running));
    }
  }
}

// Seven steps read the long prompt, and each gives the others a token, whatever they exchange.
TEST_F(JobTest, AnswersGoOnWhileALongPromptIsRead) {
  const auto list = requests({1, 7, 90});
  const Outcome oracle = run(1, {.degree = 1, .max_running = 1}, list);
  EXPECT_EQ(oracle.tokens_beside_prompts, 0);
  for (int degree : {1, 2, 3, 5}) {
    for (DecodeStrategy strategy : kDecodeStrategies) {
      const JobOptions options{
          .degree = degree, .page_tokens = 8, .chunk_tokens = 13, .decode_strategy = strategy};
      const Outcome outcome = run(degree, options, list);
      const std::string what = str("{} on {} ranks", name(strategy), degree);
      expect_same(outcome, oracle, what);
      EXPECT_EQ(outcome.tokens_beside_prompts, 2 * 6) << what;
    }
  }
}

TEST_F(JobTest, ATracedJobGivesTheSameTokensAndAFileARank) {
  const test::TemporaryDirectory folder;
  const auto list = requests({1, 40});
  const JobOptions options{.degree = 3, .chunk_tokens = 12};
  expect_same(run(3, options, list, folder.path()), run(3, options, list), "traced");
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_GT(std::filesystem::file_size(folder / str("rank-{}.json", rank)), 10'000u);
  }
}

TEST_F(JobTest, RanksBeyondTheDegreeIdleAndOwnNothing) {
  const auto list = requests({40});
  const Outcome outcome = run(4, {.degree = 2}, list);
  expect_same(outcome, run(1, {.degree = 1}, list), "degree 2 of 4 ranks");
  ASSERT_EQ(outcome.ranks.size(), 4u);
  EXPECT_GT(outcome.ranks[1].kv_pages_used, 0);
  EXPECT_EQ(outcome.ranks[2].kv_pages_total, 0);
  EXPECT_EQ(outcome.ranks[3].sent_bytes, 0u);
}

TEST_F(JobTest, FewestKeepsEachSequenceOnOneRankAndItsDecodeSendsNothing) {
  for (DecodeStrategy strategy : kDecodeStrategies) {
    const JobOptions options{.degree = 4, .keep = Retention::kFewest, .decode_strategy = strategy};
    const Outcome short_answer = run(4, options, requests({64}, 1));
    const Outcome long_answer = run(4, options, requests({64}, 30));
    int holders = 0;
    for (int rank = 0; rank < 4; ++rank) {
      holders += long_answer.ranks[rank].kv_pages_used > 0;
      EXPECT_EQ(long_answer.ranks[rank].sent_bytes, short_answer.ranks[rank].sent_bytes)
          << name(strategy);
    }
    EXPECT_EQ(holders, 1);
  }
}

TEST_F(JobTest, ForcedTokensReplaceTheSampledOnesAndKeepTheModelsProbabilities) {
  auto list = requests({12}, 6);
  const Outcome free = run(1, {.degree = 1}, list);
  list[0].admission.forced = free.tokens.at(0);
  expect_same(run(3, {.degree = 3}, list), free, "its own tokens forced");
  list[0].admission.forced = {7, 7};
  const Outcome forced = run(2, {.degree = 2}, list);
  EXPECT_EQ(forced.tokens.at(0)[0], 7);
  EXPECT_EQ(forced.tokens.at(0)[1], 7);
  EXPECT_LT(forced.logprobs.at(0)[0], free.logprobs.at(0)[0]);
}

TEST_F(JobTest, AStepWhoseAttentionDroppedKeysFails) {
  test::run_machines(1, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, path_.string()), {});
    const auto list = requests({5});
    int tokens = 0;
    // Between two steps, one partial without a usable weight is merged, as from a damaged page.
    const auto damage = [&](RequestId, const Scored&) {
      if (++tokens != 3) return;
      const HeadShape& shape = model.kernels->shape();
      std::vector<float> o(static_cast<std::size_t>(shape.query_heads * shape.head_dim));
      std::vector<float> lse(static_cast<std::size_t>(shape.query_heads));
      lse[0] = std::numeric_limits<float>::quiet_NaN();
      const auto stream = machine.device().new_stream();
      model.kernels->merge(*stream, {{o.data(), lse.data()}}, {o.data(), lse.data()}, 1);
      stream->synchronize();
    };
    JobInput input{.requests = list,
                   .listener = {.prefill = [](const Progress&) {},
                                .layer = nullptr,
                                .token = damage,
                                .nll = [](RequestId, double) {}}};
    try {
      run_job(machine, model, {.degree = 1}, &input);
      ADD_FAILURE() << "the job went on";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kInternal);
      EXPECT_EQ(tokens, 3);
    }
  });
}

// Of other heads, sizes and layers, step by step in turns: nothing of one may linger where the
// other finds it.
TEST_F(JobTest, TwoModelsMayTakeTurnsInOneProcess) {
  const test::TemporaryDirectory folder;
  const auto other = folder / "other.gguf";
  test::TinyLlama{.layers = 3, .hidden = 96, .heads = 4, .kv_heads = 1, .head_dim = 32, .seed = 8}
      .write(other);
  const auto list = requests({1, 7, 33}, 8);
  const JobOptions options{.degree = 3, .page_tokens = 4, .chunk_tokens = 16};
  const auto first = run(3, options, list), second = run_model(other, 3, options, list);
  EXPECT_NE(first.nll, second.nll);
  test::run_machines(3, [&](Machine& machine) {
    std::vector<LoadedModel> models;
    for (const auto& path : {path_, other}) {
      models.push_back(load_model(machine, open_model(machine, path.string()), {}));
    }
    for (int turn = 0; turn < 4; ++turn) {
      Outcome outcome;
      JobInput input{.requests = list, .listener = test::listener(outcome)};
      run_job(machine, models[turn % 2], options, machine.rank() == 0 ? &input : nullptr);
      if (machine.rank() == 0) {
        expect_same(outcome, turn % 2 == 0 ? first : second, str("turn {}", turn));
      }
    }
  });
}

TEST_F(JobTest, AJobThatDoesNotFitIsRefusedOnEveryRankWithTheNumbers) {
  test::run_machines(3, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, path_.string()), {});
    const JobOptions options{.degree = 3, .memory_limit = 1 << 20};
    JobInput input{.requests = requests({200})};
    try {
      run_job(machine, model, options, machine.rank() == 0 ? &input : nullptr);
      ADD_FAILURE() << "nobody threw";
    } catch (const OutOfMemory& error) {
      EXPECT_TRUE(std::string(error.what()).find("KV cache") != std::string::npos) << error.what();
      EXPECT_TRUE(error.everywhere());
    }
  });
}

}  // namespace
}  // namespace longspan

// Whole jobs on ranks as threads with a tiny random model: whatever the degree, layout, chunk, page
// size or retention, the tokens are those of one rank.
#include "runtime/engine/job.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "attention/usable_strategies.h"
#include "comm/str.h"
#include "comm/trace_file.h"
#include "runtime/engine/load_model.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/model/tiny_llama.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

/// What a job gave back.
struct Outcome {
  std::map<RequestId, std::vector<TokenId>> tokens;
  std::map<RequestId, std::vector<double>> logprobs;
  std::map<RequestId, double> nll;
  std::set<Strategy> strategies;  // that some chunk took
  std::vector<RankSummary> ranks;
};

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
    std::mt19937 random(9);
    std::vector<JobRequest> list;
    for (std::int64_t length : lengths) {
      JobRequest request{.max_new = max_new, .stop = -1, .wants_nll = true};
      request.admission.request = std::ssize(list);
      request.admission.top = 3;
      for (std::int64_t i = 0; i < length; ++i) {
        request.admission.prompt.push_back(static_cast<TokenId>(random() % 256));
      }
      list.push_back(request);
    }
    return list;
  }

  /// With `traces` every rank writes a trace there; its lanes are short, so that they are drained
  /// while streams add to them.
  static Outcome run(int ranks, const JobOptions& options, const std::vector<JobRequest>& list,
                     const std::optional<std::filesystem::path>& traces = std::nullopt) {
    Outcome outcome;
    test::run_machines(ranks, [&](Machine& machine) {
      std::optional<TraceFile> trace;
      if (traces) {
        trace.emplace(*traces, TraceOwner{.rank = machine.rank(), .ranks = ranks}, 512);
        machine.device().trace_into(&*trace);
      }
      LoadedModel model = load_model(machine, open_model(machine, path_.string()), {});
      if (machine.rank() != 0) {
        run_job(machine, model, options, nullptr);
        return;
      }
      JobInput input{.requests = list, .listener = listener(outcome)};
      outcome.ranks = run_job(machine, model, options, &input);
    });
    return outcome;
  }

  static void expect_same(const Outcome& outcome, const Outcome& oracle, const std::string& what) {
    EXPECT_EQ(outcome.tokens, oracle.tokens) << what;
    for (const auto& [id, logprobs] : oracle.logprobs) {
      ASSERT_EQ(outcome.logprobs.at(id).size(), logprobs.size()) << what;
      for (std::size_t i = 0; i < logprobs.size(); ++i) {
        EXPECT_NEAR(outcome.logprobs.at(id)[i], logprobs[i], 1e-4) << what;
      }
      EXPECT_NEAR(outcome.nll.at(id), oracle.nll.at(id), 1e-3) << what;
    }
  }

 private:
  static Coordinator::Listener listener(Outcome& outcome) {
    return {.prefill =
                [&outcome](const Progress& chunk) {
                  outcome.strategies.insert(chunk.choice->plan.strategy);
                },
            .layer = nullptr,
            .token =
                [&outcome](RequestId id, const Scored& scored) {
                  outcome.tokens[id].push_back(scored.chosen.id);
                  outcome.logprobs[id].push_back(scored.chosen.logprob);
                },
            .nll = [&outcome](RequestId id, double sum) { outcome.nll[id] += sum; }};
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

TEST_F(JobTest, EveryPrefillStrategyGivesTheTokensOfOneRank) {
  const auto list = requests({1, 2, 7, 33, 100});
  const Outcome oracle = run(1, {.degree = 1}, list);
  std::mt19937 random(2);
  int runs = 0;
  for (int degree : {1, 2, 3, 4, 6}) {
    for (Strategy strategy : kStrategies) {
      const SplitSetting setting{.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16},
                                 .hosts = std::vector<int>(degree, 0)};
      for (const PlannedStrategy& plan : usable_plans(strategy, setting)) {
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
    }
  }
  EXPECT_GT(runs, 30);
}

// On a link so slow that strategies change from chunk to chunk.
TEST_F(JobTest, AChoiceForEachChunkGivesTheTokensOfOneRank) {
  const auto list = requests({1, 7, 100, 200});
  const Outcome oracle = run(1, {.degree = 1}, list);
  std::set<Strategy> taken;
  for (int degree : {2, 3, 4, 6}) {
    const SplitSetting setting{.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16},
                               .hosts = std::vector<int>(degree, 0)};
    JobOptions options{.degree = degree, .chunk_tokens = 64 * degree, .plans = {}};
    for (const UsableStrategy& usable : usable_strategies(setting)) {
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

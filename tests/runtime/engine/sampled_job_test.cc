// Jobs that draw their tokens: the same seed gives the same ones at every degree, chunk, layout and
// way to decode, also with penalties, for which a rank must know what others wrote.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <iostream>
#include <set>

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

using Answers = std::map<RequestId, std::vector<Scored>>;

constexpr double kNearBorder = 1e-5;

const Sampling kPlain{.temperature = 1.2, .seed = 77};
const Sampling kFiltered{.temperature = 0.9, .top_k = 60, .top_p = 0.9, .min_p = 0.01, .seed = -5};
const Sampling kPenalised{.temperature = 0.8,
                          .top_k = 200,
                          .repetition_penalty = 1.3,
                          .presence_penalty = 0.7,
                          .frequency_penalty = 0.4,
                          .bias = {{3, 2}, {200, -4}},
                          .seed = 8};
const Sampling kPenalisedBest{.repetition_penalty = 1.5, .frequency_penalty = 0.2};

class SampledJobTest : public testing::Test {
 protected:
  SampledJobTest() {
    test::TinyLlama model;
    model.heads = 6;
    model.kv_heads = 2;
    model.seed = 5;
    model.write(path());
  }

  std::filesystem::path path() const { return folder_ / "model.gguf"; }

  static std::vector<JobRequest> requests(const std::vector<Sampling>& samplings) {
    const std::vector<std::int64_t> lengths(samplings.size(), 33);
    std::vector<JobRequest> list = test::job_requests(lengths, 24);
    for (std::size_t i = 0; i < list.size(); ++i) list[i].admission.sampling = samplings[i];
    return list;
  }

  Answers run(int ranks, const JobOptions& options, const std::vector<JobRequest>& list, int tp = 1,
              const std::function<void(Coordinator&)>& between_steps = nullptr) const {
    Answers answers;
    test::run_machines(ranks, [&](Machine& machine) {
      LoadedModel model = load_model(machine, open_model(machine, path().string()), {.tp = tp});
      if (machine.rank() != 0) {
        run_job(machine, model, options, nullptr);
        return;
      }
      const auto token = [&](RequestId id, const Scored& scored) { answers[id].push_back(scored); };
      JobInput input{.requests = list,
                     .listener = {.prefill = [](const Progress&) {},
                                  .layer = nullptr,
                                  .token = token,
                                  .nll = [](RequestId, double) {}},
                     .between_steps = between_steps};
      run_job(machine, model, options, &input);
    });
    return answers;
  }

  /// The same tokens; a first difference only where the draw was at a border.
  static void expect_same(const Answers& answers, const Answers& oracle, const std::string& what) {
    ASSERT_EQ(answers.size(), oracle.size()) << what;
    for (const auto& [id, tokens] : oracle) {
      const std::vector<Scored>& other = answers.at(id);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        ASSERT_LT(i, other.size()) << what;
        if (other[i].chosen.id == tokens[i].chosen.id) continue;
        const double margin = std::min(other[i].margin, tokens[i].margin);
        EXPECT_LT(margin, kNearBorder) << what << ", request " << id << ", token " << i;
        std::cout << str("{}, request {}: differs at token {}, {:.1e} from a border\n", what, id, i,
                         margin);
        break;
      }
    }
  }

  test::TemporaryDirectory folder_;
};

TEST_F(SampledJobTest, TheSameSeedGivesTheSameTokensHoweverTheSequenceIsSplit) {
  const auto list = requests({kPlain, kFiltered, kPenalised, kPenalisedBest});
  const Answers oracle = run(1, {.degree = 1}, list);
  for (const auto& [id, tokens] : oracle) {
    std::set<TokenId> different;
    for (const Scored& token : tokens) different.insert(token.chosen.id);
    EXPECT_GT(different.size(), 3u) << id;
  }
  constexpr std::array kLayouts{DealtBy::kBlockCyclic, DealtBy::kStriped, DealtBy::kZigzag,
                                DealtBy::kContiguous, DealtBy::kFolded};
  int row = 0;
  for (int degree : {1, 2, 3, 5}) {
    for (DecodeStrategy decode : {DecodeStrategy::kShipped, DecodeStrategy::kTree,
                                  DecodeStrategy::kMirrored, DecodeStrategy::kSliced}) {
      const JobOptions options{.degree = degree,
                               .page_tokens = std::int64_t{1} << (row % 5),
                               .layout = kLayouts[row % 5],
                               .chunk_tokens = 5 + 9 * (row % 4),
                               .keep = row % 3 == 0 ? Retention::kFewest : Retention::kSpread,
                               .decode_strategy = decode};
      expect_same(run(degree, options, list), oracle,
                  str("degree {}, decode strategy {}, layout {}, pages of {}", degree,
                      static_cast<int>(decode), row % 5, options.page_tokens));
      ++row;
    }
  }
}

// Pages of eight on ranks that each hold the sequence alone for a while: the next one has sat out
// the steps in which the tokens before were written.
TEST_F(SampledJobTest, ARankThatJoinsLateKnowsWhatWasWritten) {
  auto list = requests({kPenalisedBest});
  list[0].admission.prompt.resize(3);
  const Answers oracle = run(1, {.degree = 1}, list);
  expect_same(run(4, {.degree = 4, .page_tokens = 8}, list), oracle, "four ranks");
}

TEST_F(SampledJobTest, InstancesOfSeveralRanksDrawTheSame) {
  const auto list = requests({kPlain, kPenalised});
  const Answers oracle = run(1, {.degree = 1}, list);
  expect_same(run(2, {.degree = 1}, list, 2), oracle, "one instance of two");
  expect_same(run(4, {.degree = 2, .page_tokens = 4}, list, 2), oracle, "two instances of two");
}

TEST_F(SampledJobTest, ARequestDrawsTheSameWhateverRunsBesideIt) {
  const auto list = requests({kPlain, kFiltered, kPenalised});
  const Answers together = run(2, {.degree = 2}, list);
  const Answers in_turn = run(2, {.degree = 2, .max_running = 1}, list);
  expect_same(in_turn, together, "one after the other");
  EXPECT_EQ(together.at(0).size(), 24u);
}

TEST_F(SampledJobTest, EachStopEndsTheRequestButNotBeforeItsTime) {
  auto list = requests({kPlain});
  const std::vector<Scored> tokens = run(1, {.degree = 1}, list).at(0);
  const TokenId stop = tokens[4].chosen.id;
  std::size_t first = 0;
  while (tokens[first].chosen.id != stop) ++first;
  list[0].admission.sampling.stops = {287, stop};
  EXPECT_EQ(run(2, {.degree = 2}, list).at(0).size(), first + 1);
  list[0].admission.sampling.min_tokens = 10;
  const std::vector<Scored> later = run(2, {.degree = 2}, list).at(0);
  EXPECT_GT(later.size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_NE(later[i].chosen.id, stop);
}

TEST_F(SampledJobTest, ARequestThatIsEndedGetsNoMoreTokensAndTheOthersGoOn) {
  const auto list = requests({kPlain, kFiltered});
  const Answers oracle = run(1, {.degree = 1}, list);
  int steps = 0;
  const Answers answers = run(3, {.degree = 3}, list, 1, [&](Coordinator& coordinator) {
    if (++steps == 8) coordinator.end(0);
  });
  EXPECT_LT(answers.at(0).size(), 8u);
  EXPECT_EQ(answers.at(1).size(), oracle.at(1).size());
  expect_same({{1, answers.at(1)}}, {{1, oracle.at(1)}}, "beside one that ended");
}

}  // namespace
}  // namespace longspan

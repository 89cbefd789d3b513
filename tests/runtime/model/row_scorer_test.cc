// What a scorer makes of summaries against what sample() and score() make of the rows themselves.
#include "runtime/model/row_scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "comm/str.h"
#include "tests/runtime/model/plain_summaries.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class RowScorerTest : public testing::Test {
 protected:
  static std::unique_ptr<LogitSummaries> summaries(int vocabulary) {
    return std::make_unique<test::PlainSummaries>(vocabulary);
  }
  /// As if the host could not read the device's memory.
  RowScorer scorer(int vocabulary, std::int64_t rows, bool summarises = true) {
    return {device_,
            summarises ? summaries(vocabulary) : nullptr,
            {.vocabulary = vocabulary, .rows = rows, .host_reads = false}};
  }
  std::vector<Scored> score(RowScorer& scorer, const std::vector<float>& logits,
                            const std::vector<RowQuestion>& questions) {
    return scorer.score(stream_, logits.data(), questions, [&] { stream_.synchronize(); });
  }
  RowQuestion sampled(const Sampling& sampling, int top, std::int64_t position) {
    return {.top = top,
            .sampling = &sampling,
            .history = &history_,
            .written = 3,
            .position = position};
  }

  static void expect_same(const Scored& found, const Scored& expected, const std::string& what) {
    expect_same(found.chosen, expected.chosen, what);
    EXPECT_NEAR(found.margin, expected.margin, 1e-9) << what;
    ASSERT_EQ(found.top.size(), expected.top.size()) << what;
    for (std::size_t i = 0; i < found.top.size(); ++i) {
      expect_same(found.top[i], expected.top[i], str("{}, place {}", what, i));
    }
  }
  static void expect_same(const TokenScore& found, const TokenScore& expected,
                          const std::string& what) {
    EXPECT_EQ(found.id, expected.id) << what;
    if (found.logprob == expected.logprob) return;  // -inf, too
    EXPECT_NEAR(found.logprob, expected.logprob, 1e-6) << what;
  }

  CpuDevice device_{1};
  TokenCounts history_{{1, 2}, {5, 1}};
  CpuStream stream_{1};
};

/// Rows of many kinds: wide and narrow, with ties at every place, masked tokens, a peak.
std::vector<float> random_row(int vocabulary, unsigned seed) {
  const float spread = std::array{0.0f, 0.5f, 4.0f, 30.0f, 1e30f}[seed % 5];
  auto row = test::random_values(vocabulary, static_cast<int>(seed), -spread, spread);
  if (seed % 3 == 0) {
    for (float& logit : row) logit = std::round(logit);
  }
  if (seed % 4 == 1) {
    for (std::size_t i = seed % 7; i < row.size(); i += 2) row[i] = -kInfinity;
    row[row.size() / 2] = 0;
  }
  if (seed % 6 == 2) row[row.size() / 3] = spread + 9;
  return row;
}

Sampling random_sampling(std::mt19937& random) {
  const auto one_of = [&](const auto& values) { return values[random() % std::size(values)]; };
  Sampling sampling{.temperature = one_of(std::array{0.0, 0.6, 1.0, 1e-3, 3.0}),
                    .top_k = one_of(std::array<std::int64_t, 7>{0, 0, 1, 40, 255, 256, 5000}),
                    .top_p = one_of(std::array{1.0, 1.0, 0.9, 0.5, 1e-6, 0.999999}),
                    .min_p = one_of(std::array{0.0, 0.0, 0.05, 1e-9, 1.0})};
  sampling.seed = random();
  if (random() % 5 == 0) sampling.bias = {{0, 3.0f}};
  if (random() % 5 == 0) sampling.presence_penalty = 0.5;
  return sampling;
}

TEST_F(RowScorerTest, SummariesGiveTheTokensOfWholeRows) {
  std::mt19937 random(1);
  for (unsigned trial = 0; trial < 1500; ++trial) {
    const int vocabulary = std::array{1, 3, 255, 256, 257, 1000, 4099}[random() % 7];
    const auto row = random_row(vocabulary, random());
    Sampling sampling = random_sampling(random);
    if (sampling.looks_back() && vocabulary < 6) sampling.presence_penalty = 0;
    const int top = std::array{0, 1, 2, 20, 300}[random() % 5];
    RowScorer scorer = this->scorer(vocabulary, 1);
    const auto found = score(scorer, row, {sampled(sampling, top, trial)});
    const auto what =
        str("trial {}: {} logits, T {}, k {}, p {}, min-p {}, top {}", trial, vocabulary,
            sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, top);
    expect_same(found.at(0), sample(row, top, sampling, history_, 3, trial), what);
  }
}

TEST_F(RowScorerTest, ForcedTokensAreScoredAsTheirRowsSay) {
  const auto row = random_row(999, 3);
  RowScorer scorer = this->scorer(999, 2);
  const auto found = score(scorer, row, {{.top = 5, .forced = 998}, {.forced = 0}});
  expect_same(found.at(0), longspan::score(row, 5, 998), "with alternatives");
  expect_same(found.at(1), longspan::score(row, 0, 0), "alone");
  EXPECT_EQ(scorer.copied_rows(), 0);
}

TEST_F(RowScorerTest, OnlyRowsThatNeedItAreCopied) {
  constexpr int kVocabulary = 3000;
  auto logits = test::random_values(4 * kVocabulary, 1, -30, 30);
  const Sampling greedy, usual{.temperature = 0.6, .top_p = 0.9}, open{.temperature = 1};
  std::vector<RowQuestion> questions{sampled(greedy, 20, 9), sampled(usual, 0, 9),
                                     sampled(open, 0, 9), sampled(greedy, 0, 9)};
  for (std::int64_t row = 0; row < 4; ++row) questions[row].row = 3 - row;
  for (const bool summarises : {true, false}) {
    RowScorer scorer = this->scorer(kVocabulary, 4, summarises);
    const auto found = score(scorer, logits, questions);
    EXPECT_EQ(scorer.copied_rows(), summarises ? 1 : 4);
    for (const RowQuestion& question : questions) {
      const std::span row(logits.data() + question.row * kVocabulary, kVocabulary);
      expect_same(found.at(3 - question.row),
                  sample(row, question.top, *question.sampling, history_, 3, 9),
                  str("row {}", question.row));
    }
  }
}

/// 600 tokens share what top-p keeps: more than are listed.
TEST_F(RowScorerTest, AFilterThatKeepsMoreThanAreListedTakesTheWholeRow) {
  const std::vector<float> row(600, 1.0f);
  for (const Sampling& sampling :
       {Sampling{.temperature = 1, .top_p = 0.9}, Sampling{.temperature = 1, .top_k = 40},
        Sampling{.temperature = 1, .min_p = 0.5}}) {
    RowScorer scorer = this->scorer(600, 1);
    const auto found = score(scorer, row, {sampled(sampling, 0, 11)});
    expect_same(found.at(0), sample(row, 0, sampling, history_, 3, 11), "even rows");
    EXPECT_EQ(scorer.copied_rows(), 1);
  }
}

TEST_F(RowScorerTest, AnUnusableLogitIsNamed) {
  for (const float bad : {NAN, kInfinity}) {
    auto row = random_row(2000, 3);
    row[1234] = bad;
    RowScorer scorer = this->scorer(2000, 1);
    EXPECT_THAT([&] { score(scorer, row, {{.forced = 7}}); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("token 1234")));
  }
}

TEST_F(RowScorerTest, NoQuestionsWaitForNothing) {
  RowScorer scorer = this->scorer(10, 1);
  EXPECT_TRUE(scorer.score(stream_, nullptr, {}, [] { FAIL() << "waited"; }).empty());
}

}  // namespace
}  // namespace longspan

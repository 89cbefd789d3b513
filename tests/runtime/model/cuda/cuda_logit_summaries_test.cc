// Summaries of logits by kernels against sorting and adding up whole rows.
#include "runtime/model/cuda/cuda_logit_summaries.h"

#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <limits>

#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/str.h"
#include "runtime/model/row_scorer.h"
#include "tests/runtime/model/plain_summaries.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CudaLogitSummariesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no Cuda device";
    device_ = std::make_unique<CudaDevice>(0);
    stream_ = device_->new_stream();
  }

  Buffer upload(std::span<const float> values) {
    Buffer there = device_->allocate(values.size_bytes());
    device_->copy(*stream_, there.bytes(), std::as_bytes(values));
    stream_->synchronize();
    return there;
  }

  void expect_plain(const std::vector<float>& logits, int vocabulary,
                    const std::vector<LogitWish>& wishes, const std::string& what) {
    CudaLogitSummaries summaries(*device_, vocabulary, std::ssize(wishes));
    const Buffer there = upload(logits);
    summaries.summarise(*stream_, there.as<float>().data(), wishes);
    stream_->synchronize();
    for (std::size_t i = 0; i < wishes.size(); ++i) {
      const std::span row(logits.data() + std::int64_t{wishes[i].row} * vocabulary, vocabulary);
      expect_plain(summaries.summary(i), summaries.list(i), test::summary_of(row, wishes[i]),
                   str("{}, wish {}", what, i));
    }
  }

  static void expect_plain(const LogitSummary& found, std::span<const ListedLogit> list,
                           const test::PlainSummary& plain, const std::string& what) {
    const LogitSummary& expected = plain.summary;
    ASSERT_EQ(found.is_usable, expected.is_usable) << what;
    if (expected.is_usable == 0) return;
    EXPECT_EQ(found.best, expected.best) << what;
    EXPECT_EQ(found.best_id, expected.best_id) << what;
    EXPECT_EQ(found.named_logit, expected.named_logit) << what;
    EXPECT_NEAR(found.exp_sum, expected.exp_sum, 1e-11 * expected.exp_sum) << what;
    EXPECT_NEAR(found.weight_sum, expected.weight_sum, 1e-11 * expected.weight_sum) << what;
    ASSERT_EQ(list.size(), plain.list.size()) << what;
    for (std::size_t i = 0; i < list.size(); ++i) {
      ASSERT_EQ(list[i].id, plain.list[i].id) << what << ", place " << i;
      ASSERT_EQ(list[i].logit, plain.list[i].logit) << what << ", place " << i;
    }
  }

  std::unique_ptr<CudaDevice> device_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(CudaLogitSummariesTest, SaysOfRowsWhatSortingThemSays) {
  for (const int vocabulary : {1, 2, 31, 255, 256, 257, 4095, 4096, 4097, 12'289, 128'256}) {
    for (const float spread : {0.0f, 1.0f, 30.0f, 3e38f}) {
      auto logits = test::random_values(3 * vocabulary, vocabulary, -spread, spread);
      // The second row is full of ties, 0 and -0 among them.
      for (int i = vocabulary; i < 2 * vocabulary; ++i) logits[i] = std::round(logits[i]);
      // Rows in any order, some of them twice, with and without lists.
      expect_plain(logits, vocabulary,
                   {{.row = 2, .named = vocabulary - 1, .temperature = 0.6, .wants_list = true},
                    {.row = 0},
                    {.row = 1, .named = 0, .wants_list = true},
                    {.row = 1, .temperature = 1e-3},
                    {.row = 0, .temperature = 2.5, .wants_list = true}},
                   str("{} logits up to {}", vocabulary, spread));
    }
  }
}

TEST_F(CudaLogitSummariesTest, TheBestMayLieInOnePieceAndInAnyOrder) {
  constexpr int kVocabulary = 20'001;
  std::vector<float> rising(kVocabulary), falling(kVocabulary);
  for (int i = 0; i < kVocabulary; ++i) rising[i] = 1e-3f * i, falling[i] = -rising[i];
  const LogitWish wish{.temperature = 0.7, .wants_list = true};
  expect_plain(rising, kVocabulary, {wish}, "rising");
  expect_plain(falling, kVocabulary, {wish}, "falling");
}

TEST_F(CudaLogitSummariesTest, MaskedTokensCountForNothingAndUnusableRowsAreSaidToBe) {
  constexpr int kVocabulary = 9'000;
  const auto good = test::random_values(kVocabulary, 3, -20, 20);
  const LogitWish wish{.named = 5, .temperature = 0.5, .wants_list = true};
  auto masked = good;
  for (int i = 0; i < kVocabulary - 100; ++i) masked[i] = -kInfinity;
  expect_plain(masked, kVocabulary, {wish}, "two pieces of nothing");
  expect_plain(std::vector<float>(kVocabulary, -kInfinity), kVocabulary, {wish}, "nothing at all");
  for (const float bad : {NAN, -NAN, kInfinity}) {
    for (const int id : {0, 4096, kVocabulary - 1}) {
      auto broken = good;
      broken.insert(broken.end(), good.begin(), good.end());
      broken[id] = bad;
      expect_plain(broken, kVocabulary, {wish, {.row = 1, .wants_list = true}},
                   str("{} at {}", bad, id));
    }
  }
}

TEST_F(CudaLogitSummariesTest, TheSameRowHasTheSameBitsInAnyCompany) {
  constexpr int kVocabulary = 50'000;
  const auto logits = test::random_values(4 * kVocabulary, 9, -8, 8);
  const Buffer there = upload(logits);
  const auto sums = [&](std::vector<LogitWish> wishes) {
    CudaLogitSummaries summaries(*device_, kVocabulary, 4);
    summaries.summarise(*stream_, there.as<float>().data(), std::move(wishes));
    stream_->synchronize();
    return std::array{summaries.summary(0).exp_sum, summaries.summary(0).weight_sum};
  };
  const LogitWish wish{.row = 3, .temperature = 0.8};
  const auto alone = sums({wish});
  EXPECT_EQ(sums({wish, {.row = 0, .wants_list = true}, {.row = 1}, {.row = 2}}), alone);
}

TEST_F(CudaLogitSummariesTest, ScorersGiveTheHostsTokens) {
  constexpr int kVocabulary = 128'256, kRows = 5;
  // Steep enough that 90 % of the weight lies in the tokens that a summary lists.
  const auto logits = test::random_values(kRows * kVocabulary, 4, -1500, 1500);
  const Buffer there = upload(logits);
  RowScorer scorer(*device_, std::make_unique<CudaLogitSummaries>(*device_, kVocabulary, kRows),
                   {.vocabulary = kVocabulary, .rows = kRows, .host_reads = false});
  const Sampling greedy, usual{.temperature = 0.6, .top_p = 0.9},
      few{.temperature = 2, .top_k = 50}, biased{.bias = {{77, 200.0f}}}, open{.temperature = 1};
  const TokenCounts history;
  std::vector<RowQuestion> questions;
  for (const Sampling* sampling : {&greedy, &usual, &few, &biased, &open}) {
    questions.push_back({.row = std::ssize(questions),
                         .top = 20,
                         .sampling = sampling,
                         .history = &history,
                         .position = 17});
  }
  const auto found =
      scorer.score(*stream_, there.as<float>().data(), questions, [&] { stream_->synchronize(); });
  EXPECT_EQ(scorer.copied_rows(), 2);
  for (const RowQuestion& question : questions) {
    const std::span row(logits.data() + question.row * kVocabulary, kVocabulary);
    const Scored expected = sample(row, 20, *question.sampling, history, 0, 17);
    const Scored& scored = found.at(question.row);
    EXPECT_EQ(scored.chosen.id, expected.chosen.id) << question.row;
    EXPECT_NEAR(scored.chosen.logprob, expected.chosen.logprob, 1e-6) << question.row;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(scored.top[i].id, expected.top[i].id) << question.row;
  }
}

}  // namespace
}  // namespace longspan

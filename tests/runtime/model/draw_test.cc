// Draws against the filters written out the long way, as Hugging Face transformers has them
// (generation/logits_process.py: TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
// MinPLogitsWarper): probabilities of the whole vocabulary, one filter after the other.
#include "runtime/model/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "comm/str.h"
#include "runtime/model/philox.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

std::vector<double> softmax(const std::vector<double>& scores) {
  const double best = std::ranges::max(scores);
  std::vector<double> p;
  for (double score : scores) p.push_back(std::exp(score - best));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

std::vector<double> probabilities(std::span<const float> logits, const Sampling& sampling) {
  std::vector<double> scores;
  for (float logit : logits) scores.push_back(logit / sampling.temperature);
  if (sampling.top_k > 0 && sampling.top_k < std::ssize(scores)) {
    std::vector<double> sorted = scores;
    std::ranges::sort(sorted, std::greater());
    for (double& score : scores) {
      if (score < sorted[sampling.top_k - 1]) score = kNever;
    }
  }
  if (sampling.top_p < 1) {
    const std::vector<double> p = softmax(scores);
    std::vector<std::size_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](auto a, auto b) { return scores[a] > scores[b]; });
    double from_here = 1;  // probability of this token and all that are worse
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
      if (rank > 0 && from_here <= 1 - sampling.top_p) scores[order[rank]] = kNever;
      from_here -= p[order[rank]];
    }
  }
  const std::vector<double> p = softmax(scores);
  const double least = sampling.min_p * std::ranges::max(p);
  for (std::size_t id = 0; id < p.size(); ++id) {
    if (p[id] < least) scores[id] = kNever;
  }
  return softmax(scores);
}

/// How far counts are from what they should be, in standard deviations of the chi-square
/// distribution (Wilson and Hilferty's approximation). Tokens that should come less than five
/// times count together.
double chi_square_deviations(const std::vector<int>& counts, const std::vector<double>& expected) {
  double chi_square = 0, rare_expected = 0;
  int cells = 0, rare = 0;
  const auto add = [&](double count, double mean) {
    chi_square += (count - mean) * (count - mean) / mean;
    ++cells;
  };
  for (std::size_t id = 0; id < counts.size(); ++id) {
    if (expected[id] >= 5) {
      add(counts[id], expected[id]);
    } else {
      rare += counts[id];
      rare_expected += expected[id];
    }
  }
  if (rare_expected >= 5) add(rare, rare_expected);
  const double freedom = std::max(1, cells - 1);
  const double variance = 2 / (9 * freedom);
  return (std::cbrt(chi_square / freedom) - (1 - variance)) / std::sqrt(variance);
}

const std::vector<Sampling>& settings() {
  static const std::vector<Sampling> list{
      {.temperature = 1},
      {.temperature = 0.3},
      {.temperature = 2},
      {.temperature = 1, .top_k = 1},
      {.temperature = 1, .top_k = 5},
      {.temperature = 1, .top_k = 1000},
      {.temperature = 1, .top_p = 0.5},
      {.temperature = 1, .top_p = 0.95},
      {.temperature = 1, .top_p = 1e-9},
      {.temperature = 1, .min_p = 0.1},
      {.temperature = 1, .min_p = 1},
      {.temperature = 0.7, .top_k = 20, .top_p = 0.8},
      {.temperature = 1.5, .top_k = 9, .top_p = 0.9, .min_p = 0.2}};
  return list;
}

TEST(DrawTest, AHundredThousandDrawsComeAsOftenAsTheyShould) {
  auto logits = test::random_values(40, 3, -4, 4);
  logits[7] = kNever;
  for (std::size_t s = 0; s < settings().size(); ++s) {
    constexpr int kDraws = 100'000;
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) {
      ++counts[draw(logits, settings()[s], uniform_number(17, 0, i)).id];
    }
    std::vector<double> expected = probabilities(logits, settings()[s]);
    for (std::size_t id = 0; id < logits.size(); ++id) {
      expected[id] *= kDraws;
      if (expected[id] > 0) continue;
      EXPECT_EQ(counts[id], 0) << "setting " << s << " token " << id;
    }
    EXPECT_LT(chi_square_deviations(counts, expected), 4) << "setting " << s;
  }
}

TEST(DrawTest, EachTokenHasItsPartInOrderOfId) {
  for (std::size_t vocabulary : {1, 2, 63, 64, 65, 129, 3000}) {
    auto logits = test::random_values(vocabulary, 5, -9, 9);
    for (std::size_t i = 0; i < vocabulary; i += 3) logits[i] = std::round(logits[i]);  // ties
    for (const Sampling& sampling : settings()) {
      const std::vector<double> p = probabilities(logits, sampling);
      double begin = 0;
      for (std::size_t id = 0; id < vocabulary; ++id) {
        const double middle = begin + p[id] / 2;
        begin += p[id];
        if (p[id] < 1e-9) continue;
        const Draw drawn = draw(logits, sampling, middle);
        EXPECT_EQ(drawn.id, static_cast<TokenId>(id)) << vocabulary;
        EXPECT_LE(drawn.margin, p[id] == 1 ? 1 : p[id] / 2 + 1e-9);
      }
      EXPECT_GT(p[draw(logits, sampling, 1 - 0x1p-53).id], 0);
      EXPECT_GT(p[draw(logits, sampling, 0).id], 0);
    }
  }
}

TEST(DrawTest, ANumberNearABorderSaysSo) {
  const std::vector<float> logits(4, 0.0f);  // a quarter each
  EXPECT_NEAR(draw(logits, {.temperature = 1}, 0.25 - 1e-6).margin, 1e-6, 1e-12);
  EXPECT_NEAR(draw(logits, {.temperature = 1}, 0.25 + 1e-6).margin, 1e-6, 1e-12);
  EXPECT_NEAR(draw(logits, {.temperature = 1}, 0.375).margin, 0.125, 1e-12);
  EXPECT_NEAR(draw(logits, {.temperature = 1}, 0).margin, 0.25, 1e-12);
}

TEST(DrawTest, AFilterThatNearlyDecidedOtherwiseSaysSo) {
  const std::vector<float> close{0.0f, 1e-6f, -3.0f};
  EXPECT_LT(draw(close, {.temperature = 1, .top_k = 1}, 0.5).margin, 2e-6f);
  EXPECT_LT(draw(close, {.temperature = 1, .top_p = 0.3}, 0.5).margin, 2e-6f);
  EXPECT_LT(draw(close, {.temperature = 1, .min_p = 0.999999}, 0.2).margin, 2e-6f);
  const std::vector<float> apart{0.0f, 1.0f, -3.0f};
  EXPECT_GT(draw(apart, {.temperature = 1, .top_k = 1}, 0.5).margin, 0.1);
  EXPECT_GT(draw(apart, {.temperature = 1, .top_p = 0.3}, 0.5).margin, 0.1);
  EXPECT_GT(draw(apart, {.temperature = 1, .min_p = 0.7}, 0.2).margin, 0.1);
}

TEST(DrawTest, LogitsThatAreNoNumbersAreNeverDrawn) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(draw(std::vector{nan, 1.0f, kNever}, {.temperature = 1}, 0.999).id, 1);
  EXPECT_EQ(draw(std::vector{nan, nan}, {.temperature = 1, .top_k = 1, .top_p = 0.5}, 0.9).id, 0);
  EXPECT_EQ(draw(std::vector{kNever}, {.temperature = 1, .min_p = 0.5}, 0.9).id, 0);
}

TEST(DrawTest, ATinyTemperatureTakesTheBest) {
  const std::vector<float> logits{1, 3, 2};
  EXPECT_EQ(draw(logits, {.temperature = 1e-300, .top_p = 0.9}, 0.9).id, 1);
}

}  // namespace
}  // namespace longspan

#include "scheduler/prefill_cost.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "scheduler/cost_model.h"

namespace longspan {
namespace {

constexpr PrefillCost kCost{.a = 0.03, .b = 5e-5, .c = 2.6e-9, .d = 1.3e-9};

TEST(PrefillCostTest, AStepCostsItsTokensAndTheKeysTheySee) {
  EXPECT_EQ(kCost.seconds(std::vector<ChunkSize>()), 0);
  EXPECT_DOUBLE_EQ(kCost.seconds(ChunkSize{0, 1000}), 0.03 + 0.05 + 1.3e-3);
  EXPECT_DOUBLE_EQ(kCost.seconds(ChunkSize{5000, 1000}), 0.03 + 0.05 + 1.3e-2 + 1.3e-3);
  const std::vector<ChunkSize> two{{0, 1000}, {5000, 1000}};
  EXPECT_DOUBLE_EQ(kCost.seconds(two), 0.03 + 0.1 + 1.3e-2 + 2.6e-3);
}

TEST(PrefillCostTest, HoweverAPromptIsCutItCostsTheSameButForTheSteps) {
  for (std::int64_t cached : {0, 777}) {
    for (std::int64_t chunk : {1, 100, 999, 1000, 4000}) {
      const ChunkSize whole{cached, 1000};
      const double steps = std::ceil(1000.0 / static_cast<double>(chunk));
      EXPECT_NEAR(kCost.seconds_in_chunks(whole, chunk),
                  kCost.seconds(whole) + (steps - 1) * kCost.a, 1e-12);
    }
  }
  EXPECT_EQ(kCost.seconds_in_chunks({500, 0}, 64), 0);
}

TEST(PrefillCostTest, ChunksAddUpToWhatTheirStepsTakeWhateverTheCosts) {
  const PrefillCost cost{.a = 0.01, .b = 3e-5, .c = 9e-9, .d = 1e-9};
  double sum = 0;
  for (std::int64_t first = 0; first < 1000; first += 300) {
    sum += cost.seconds(ChunkSize{200 + first, std::min<std::int64_t>(300, 1000 - first)});
  }
  EXPECT_NEAR(cost.seconds_in_chunks({200, 1000}, 300), sum, 1e-12);
}

// A100, degrees 1 and 8, half a second.
TEST(PrefillCostTest, AChunkShrinksAsItsAttentionGrows) {
  const auto costs = a100_prefill_costs();
  EXPECT_NEAR(costs.at(1).most_tokens(0, 0.5), 7236, 1);
  EXPECT_NEAR(costs.at(1).most_tokens(131'072, 0.5), 1208, 1);
  EXPECT_NEAR(costs.at(8).most_tokens(0, 0.5), 28'544, 1);
  EXPECT_NEAR(costs.at(8).most_tokens(131'072, 0.5), 6412, 60);
}

TEST(PrefillCostTest, TheMostTokensAreTheMostThatTakeNoLonger) {
  std::mt19937 random(4);
  std::uniform_real_distribution<> factor(0.1, 10);
  for (int i = 0; i < 1000; ++i) {
    PrefillCost cost = kCost;
    cost.b *= factor(random);
    cost.d = i % 5 == 0 ? 0 : cost.d * factor(random);
    const std::int64_t cached = static_cast<std::int64_t>(random() % 1'000'000);
    const double seconds = cost.a + 0.1 * factor(random);
    const std::int64_t most = cost.most_tokens(cached, seconds);
    EXPECT_LE(cost.seconds(ChunkSize{cached, most}), seconds * (1 + 1e-12));
    EXPECT_GT(cost.seconds(ChunkSize{cached, most + 1}), seconds);
  }
  EXPECT_EQ(kCost.most_tokens(0, kCost.a), 0);
  EXPECT_EQ(kCost.most_tokens(0, -1), 0);
}

/// 40 steps of one or two chunks, whose times are off by 5 % (a standard deviation).
std::vector<TimedPrefill> noisy_samples(const PrefillCost& cost, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<> noise(1, 0.05);
  std::uniform_real_distribution<> magnitude(std::log(64), std::log(65'536));
  std::vector<TimedPrefill> samples;
  for (int i = 0; i < 40; ++i) {
    std::vector<ChunkSize> chunks;
    for (int k = 0; k <= i % 2; ++k) {
      const auto tokens = static_cast<std::int64_t>(std::exp(magnitude(random)));
      chunks.push_back({i % 3 == 0 ? static_cast<std::int64_t>(random() % 131'072) : 0, tokens});
    }
    samples.push_back(timed(chunks, cost.seconds(chunks) * noise(random)));
  }
  return samples;
}

TEST(PrefillCostTest, AFitFindsTheCostsBehindNoisyTimes) {
  for (const auto& [degree, cost] : a100_prefill_costs()) {
    const PrefillCost fit = fit_prefill_cost(noisy_samples(cost, degree));
    std::vector<double> missed;  // out of sample
    for (std::int64_t cached : {0, 10'000, 100'000}) {
      for (std::int64_t count : {200, 1000, 5000, 30'000, 100'000}) {
        const double truth = cost.seconds(ChunkSize{cached, count});
        missed.push_back(std::abs(fit.seconds(ChunkSize{cached, count}) / truth - 1));
      }
    }
    std::ranges::sort(missed);
    EXPECT_LT(missed[missed.size() / 2], 0.10) << degree;
    EXPECT_NEAR(fit.a / cost.a, 1, 0.1) << degree;
    EXPECT_NEAR(fit.d / cost.d, 1, 0.3) << degree;
  }
}

TEST(PrefillCostTest, AFitOfExactTimesIsExactAndNoCostIsEverNegative) {
  std::vector<TimedPrefill> samples;
  for (std::int64_t count : {1, 100, 5000}) {
    for (std::int64_t cached : {0, 3000}) {
      const ChunkSize chunk{cached, count};
      samples.push_back(timed({&chunk, 1}, kCost.seconds(chunk)));
    }
  }
  const PrefillCost fit = fit_prefill_cost(samples);
  EXPECT_NEAR(fit.a / kCost.a, 1, 1e-6);
  EXPECT_NEAR(fit.b / kCost.b, 1, 1e-6);
  EXPECT_NEAR(fit.c / kCost.c, 1, 1e-4);
  EXPECT_NEAR(fit.d / kCost.d, 1, 1e-4);

  // Times that fall as chunks grow: no cost explains them, and none goes below 0.
  std::vector<TimedPrefill> falling;
  for (std::int64_t count : {100, 1000, 10'000}) {
    const ChunkSize chunk{0, count};
    falling.push_back(timed({&chunk, 1}, 1.0 / static_cast<double>(count)));
  }
  const PrefillCost least = fit_prefill_cost(falling);
  EXPECT_GE(std::min({least.a, least.b, least.c, least.d}), 0);
}

TEST(PrefillCostTest, WhatSamplesDoNotTellApartIsStillFit) {
  EXPECT_EQ(fit_prefill_cost({}).seconds(ChunkSize{0, 100}), 0);
  const ChunkSize chunk{0, 512};
  const std::vector<TimedPrefill> same(3, timed({&chunk, 1}, 0.25));
  EXPECT_NEAR(fit_prefill_cost(same).seconds(chunk), 0.25, 1e-9);
}

}  // namespace
}  // namespace longspan

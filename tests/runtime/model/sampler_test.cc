#include "runtime/model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "comm/error.h"
#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double exact_log_sum_exp(std::span<const float> logits) {
  const long double best = std::ranges::max(logits);
  long double sum = 0;
  for (float logit : logits) sum += std::exp(logit - best);
  return static_cast<double>(best + std::log(sum));
}

std::vector<TokenId> exact_order(std::span<const float> logits) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  return ids;
}

TEST(SamplerTest, AgreesWithTheLongWayRound) {
  for (std::size_t vocabulary : {1, 2, 31, 1023, 1024, 1025, 4099, 49'152}) {
    auto logits = test::random_values(vocabulary, 7, -30, 30);
    // Coarse, so that ties are everywhere, also across pieces.
    for (std::size_t i = 0; i < vocabulary; i += 2) logits[i] = std::round(logits[i]);
    const double lse = exact_log_sum_exp(logits);
    const std::vector<TokenId> order = exact_order(logits);
    for (int top_k : {0, 1, 5, 40}) {
      const Scored scored = score(logits, top_k);
      EXPECT_EQ(scored.chosen.id, order[0]);
      EXPECT_NEAR(scored.chosen.logprob, logits[order[0]] - lse, 1e-6);
      EXPECT_EQ(scored.top.size(), std::min<std::size_t>(top_k, vocabulary));
      for (std::size_t i = 0; i < scored.top.size(); ++i) {
        EXPECT_EQ(scored.top[i].id, order[i]) << vocabulary << " logits, place " << i;
        EXPECT_NEAR(scored.top[i].logprob, logits[order[i]] - lse, 1e-6);
      }
    }
  }
}

TEST(SamplerTest, TiesGoToTheLowerId) {
  std::vector<float> logits(5000, -1.0f);
  for (int id : {17, 1500, 4999}) logits[id] = 3.0f;
  const Scored scored = score(logits, 4);
  EXPECT_EQ(scored.chosen.id, 17);
  EXPECT_EQ(scored.top[1].id, 1500);
  EXPECT_EQ(scored.top[2].id, 4999);
  EXPECT_EQ(scored.top[3].id, 0);
}

TEST(SamplerTest, AForcedTokenIsChosenAndTheBestAreStillListed) {
  const std::vector<float> logits{1, 4, 2};
  const Scored scored = score(logits, 2, 0);
  EXPECT_EQ(scored.chosen.id, 0);
  EXPECT_NEAR(scored.chosen.logprob, 1 - exact_log_sum_exp(logits), 1e-6);
  EXPECT_EQ(scored.top[0].id, 1);
  EXPECT_EQ(scored.top[1].id, 2);
}

TEST(SamplerTest, LogProbabilityIsThatOfScore) {
  const auto logits = test::random_values(3001, 3, -20, 20);
  for (TokenId id : {0, 1500, 3000}) {
    EXPECT_NEAR(log_probability(logits, id), score(logits, 0, id).chosen.logprob, 1e-9);
  }
}

TEST(SamplerTest, HugeLogitsNeitherOverflowNorVanish) {
  const std::vector<float> logits{3e38f, 3e38f, -3e38f, -kInfinity};
  EXPECT_NEAR(score(logits).chosen.logprob, -std::log(2.0), 1e-6);
  EXPECT_EQ(log_probability(logits, 3), -kInfinity);
}

TEST(SamplerTest, AMaskedTokenIsNeverBest) {
  const std::vector<float> logits{-kInfinity, -50.0f, -kInfinity};
  EXPECT_EQ(score(logits).chosen.id, 1);
  EXPECT_NEAR(score(logits).chosen.logprob, 0, 1e-6);
}

TEST(SamplerTest, AnUnusableLogitIsNamed) {
  auto logits = test::random_values(2000, 5);
  for (float bad : {NAN, kInfinity}) {
    for (std::size_t id : {0, 1234, 1999}) {
      auto broken = logits;
      broken[id] = bad;
      const auto names_it = ThrowsMessage<Error>(HasSubstr("token " + std::to_string(id)));
      EXPECT_THAT([&] { score(broken, 3); }, names_it);
      EXPECT_THAT([&] { log_probability(broken, 7); }, names_it);
    }
  }
  const std::vector<float> nothing(10, -kInfinity);
  EXPECT_THROW(score(nothing), Error);
}

}  // namespace
}  // namespace longspan

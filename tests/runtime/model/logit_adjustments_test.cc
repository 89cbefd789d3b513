#include "runtime/model/logit_adjustments.h"

#include <gmock/gmock.h>

#include <limits>

#include "runtime/model/sampler.h"

namespace longspan {
namespace {

using testing::ElementsAre;

constexpr float kNever = -std::numeric_limits<float>::infinity();

std::vector<float> adjusted(std::vector<float> logits, const Sampling& sampling,
                            const TokenCounts& history, std::int64_t written) {
  adjust_logits(logits, sampling, history, written);
  return logits;
}

TEST(LogitAdjustmentsTest, TheDefaultsChangeNothing) {
  EXPECT_THAT(adjusted({1, -2, 3}, {}, {{0, 5}, {1, 0}}, 5), ElementsAre(1, -2, 3));
}

TEST(LogitAdjustmentsTest, ARepetitionIsLessLikelyWhateverItsSign) {
  EXPECT_THAT(adjusted({1, -2, 3}, {.repetition_penalty = 2}, {{0, 1}, {1, 0}}, 1),
              ElementsAre(0.5f, -4, 3));
}

TEST(LogitAdjustmentsTest, PenaltiesForWhatWasWrittenPassOverThePrompt) {
  const TokenCounts history{{0, 0}, {1, 1}, {2, 3}};
  EXPECT_THAT(adjusted({1, 1, 1, 1}, {.presence_penalty = 0.5}, history, 4),
              ElementsAre(1, 0.5f, 0.5f, 1));
  EXPECT_THAT(adjusted({1, 1, 1, 1}, {.frequency_penalty = 0.5}, history, 4),
              ElementsAre(1, 0.5f, -0.5f, 1));
}

TEST(LogitAdjustmentsTest, BiasComesBeforeThePenalty) {
  EXPECT_THAT(adjusted({1, 1}, {.repetition_penalty = 2, .bias = {{0, 3}}}, {{0, 0}}, 0),
              ElementsAre(2, 1));
}

TEST(LogitAdjustmentsTest, NoStopComesBeforeItsTime) {
  const Sampling sampling{.min_tokens = 2, .stops = {0, 2}};
  EXPECT_THAT(adjusted({1, 1, 1}, sampling, {}, 1), ElementsAre(kNever, 1, kNever));
  EXPECT_THAT(adjusted({1, 1, 1}, sampling, {}, 2), ElementsAre(1, 1, 1));
}

TEST(LogitAdjustmentsTest, WhatIsReportedIsTheModelsOwn) {
  const std::vector<float> logits{1, 2, 3};
  const Scored plain = score(logits, 3);
  const Scored banned = sample(logits, 3, {.bias = {{2, -50}}}, {}, 0, 0);
  EXPECT_EQ(banned.chosen, plain.top[1]);
  EXPECT_EQ(banned.top, plain.top);
  const Scored drawn = sample(logits, 0, {.temperature = 1, .bias = {{0, 100}}}, {}, 0, 0);
  EXPECT_EQ(drawn.chosen, plain.top[2]);
}

TEST(LogitAdjustmentsTest, ADrawDependsOnSeedChoiceAndPositionAlone) {
  const std::vector<float> logits(1000, 0.0f);
  const auto id = [&](std::int64_t seed, std::uint32_t choice, std::int64_t position) {
    return sample(logits, 0, {.temperature = 1, .seed = seed, .choice = choice}, {}, position / 2,
                  position)
        .chosen.id;
  };
  EXPECT_EQ(id(1, 0, 9), id(1, 0, 9));
  EXPECT_NE(id(1, 0, 9), id(2, 0, 9));
  EXPECT_NE(id(1, 0, 9), id(1, 1, 9));
  EXPECT_NE(id(1, 0, 9), id(1, 0, 10));
}

}  // namespace
}  // namespace longspan

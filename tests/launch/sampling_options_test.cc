#include "launch/sampling_options.h"

#include <gmock/gmock.h>

#include "comm/error.h"

namespace longspan {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kVocabulary = 1000;
constexpr std::array<TokenId, 1> kEnds{2};

Sampling of(const SamplingOptions& options, const GenerationConfig& defaults = {}) {
  return resolved(options, defaults, kEnds, false, kVocabulary);
}

TEST(SamplingOptionsTest, WhoSaysNothingGetsTheBestToken) {
  const Sampling sampling = of({});
  EXPECT_FALSE(sampling.draws());
  EXPECT_FALSE(sampling.adjusts());
  EXPECT_THAT(sampling.stops, ElementsAre(2));
}

TEST(SamplingOptionsTest, TheCommandLineGoesBeforeTheModel) {
  const GenerationConfig model{.do_sample = true,
                               .temperature = 0.6,
                               .top_k = 20,
                               .top_p = 0.9,
                               .min_p = 0.1,
                               .repetition_penalty = 1.1,
                               .end_of_text = {7, 2}};
  const Sampling all = of({}, model);
  EXPECT_EQ(all.temperature, 0.6);
  EXPECT_EQ(all.top_k, 20);
  EXPECT_EQ(all.top_p, 0.9);
  EXPECT_EQ(all.min_p, 0.1);
  EXPECT_EQ(all.repetition_penalty, 1.1);
  EXPECT_THAT(all.stops, ElementsAre(2, 7));
  const Sampling some =
      of({.temperature = 0, .top_k = -1, .top_p = 1, .repetition_penalty = 1}, model);
  EXPECT_FALSE(some.draws());
  EXPECT_EQ(some.top_k, 0);
  EXPECT_EQ(some.top_p, 1);
  EXPECT_EQ(some.min_p, 0.1);
  EXPECT_EQ(some.repetition_penalty, 1);
}

TEST(SamplingOptionsTest, AModelThatDoesNotSampleIsGreedyWhateverItsTemperature) {
  const GenerationConfig model{.do_sample = false, .temperature = 0.6, .top_p = 0.9};
  EXPECT_FALSE(of({}, model).draws());
  EXPECT_EQ(of({.seed = 1}, model).temperature, 0.6);
  EXPECT_EQ(of({.temperature = 1}, model).top_p, 0.9);
}

TEST(SamplingOptionsTest, AFilterOrASeedAsksToDraw) {
  EXPECT_EQ(of({.top_k = 5}).temperature, 1);
  EXPECT_EQ(of({.top_p = 0.5}).temperature, 1);
  EXPECT_EQ(of({.min_p = 0.5}).temperature, 1);
  EXPECT_EQ(of({.seed = -3}).temperature, 1);
  EXPECT_EQ(of({.seed = -3}).seed, -3);
  EXPECT_FALSE(of({.repetition_penalty = 2}).draws());
}

TEST(SamplingOptionsTest, WithoutASeedEveryRunHasAnother) {
  EXPECT_NE(of({.temperature = 1}).seed, of({.temperature = 1}).seed);
}

TEST(SamplingOptionsTest, TheModelsEndsDoNotCountWhereTheyAreIgnored) {
  const auto stops = [](bool ignore_eos) {
    return resolved({.stop_ids = {9, 9}}, {.end_of_text = {7}}, kEnds, ignore_eos, kVocabulary)
        .stops;
  };
  EXPECT_THAT(stops(false), ElementsAre(2, 7, 9));
  EXPECT_THAT(stops(true), ElementsAre(9));
  const GenerationConfig beyond{.end_of_text = {kVocabulary, 7}};
  EXPECT_THAT(resolved({}, beyond, kEnds, false, kVocabulary).stops, ElementsAre(2, 7));
}

TEST(SamplingOptionsTest, WhatIsOutsideTheVocabularyIsRefused) {
  EXPECT_THROW(of({.top_k = 1001}), UsageError);
  EXPECT_EQ(of({.top_k = 1000}).top_k, 1000);
  EXPECT_EQ(of({}, {.do_sample = true, .top_k = 1001}).top_k, 1000);
  EXPECT_THROW(of({.stop_ids = {1000}}), UsageError);
  EXPECT_THROW(of({.bias = {{1000, 1}}}), UsageError);
}

TEST(SamplingOptionsTest, StopsAreOneTextOrAnArray) {
  EXPECT_THAT(stop_texts("--stop", "a,b"), ElementsAre("a,b"));
  EXPECT_THAT(stop_texts("--stop", R"(["a", "\n"])"), ElementsAre("a", "\n"));
  EXPECT_THAT(stop_texts("--stop", "[END]"), ElementsAre("[END]"));
  EXPECT_THAT(stop_texts("--stop", "[1]"), ElementsAre("[1]"));
  EXPECT_THAT(stop_texts("--stop", std::string(256, 'x')).front().size(), 256u);
  for (const std::string& bad :
       {std::string(), std::string(257, 'x'), std::string("\xff"), std::string(R"(["a",""])"),
        R"(["1","2","3","4","5","6","7","8","9","10","11","12","13","14",)"
        R"("15","16","17"])" +
            std::string()}) {
    EXPECT_THROW(stop_texts("--stop", bad), UsageError) << bad;
  }
}

TEST(SamplingOptionsTest, BiasesAreIdsAndNumbers) {
  const auto biases = token_biases("--logit-bias", "5:-100,0:2.5");
  ASSERT_EQ(biases.size(), 2u);
  EXPECT_EQ(biases[0].id, 5);
  EXPECT_EQ(biases[0].bias, -100);
  EXPECT_EQ(biases[1].id, 0);
  EXPECT_EQ(biases[1].bias, 2.5);
  for (const char* bad :
       {"", "5", "5:", ":1", "5:101", "5:nan", "-1:1", "5:1,", "5:1;6:1", "x:1"}) {
    EXPECT_THROW(token_biases("--logit-bias", bad), UsageError) << bad;
  }
}

}  // namespace
}  // namespace longspan

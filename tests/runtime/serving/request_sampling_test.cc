#include "runtime/serving/request_sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longspan {
namespace {

using testing::ElementsAre;

const SamplingDefaults kDefaults{
    .sampling = {.temperature = 0.7, .top_k = 40, .top_p = 0.9, .stops = {9}}, .ends = {2, 5}};

TEST(RequestSamplingTest, WhatIsNotSaidIsAsUsual) {
  const Sampling sampling = sampling_of({}, kDefaults, 11);
  EXPECT_EQ(sampling.temperature, 0.7);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.seed, 11);
  EXPECT_THAT(sampling.stops, ElementsAre(2, 5, 9));
}

TEST(RequestSamplingTest, WhatIsSaidGoesFirst) {
  const Sampling sampling = sampling_of({.temperature = 1,
                                         .top_k = 0,
                                         .top_p = 1,
                                         .seed = -3,
                                         .min_tokens = 4,
                                         .stop_ids = std::vector<TokenId>{7, 5}},
                                        kDefaults, 11);
  EXPECT_EQ(sampling.temperature, 1);
  EXPECT_EQ(sampling.top_k, 0);
  EXPECT_EQ(sampling.top_p, 1);
  EXPECT_EQ(sampling.seed, -3);
  EXPECT_EQ(sampling.min_tokens, 4);
  EXPECT_THAT(sampling.stops, ElementsAre(2, 5, 7)) << "its own stops, and each end once";
}

TEST(RequestSamplingTest, EndsOfTextMayBeIgnored) {
  EXPECT_THAT(sampling_of({.ignore_eos = true}, kDefaults, 0).stops, ElementsAre(9));
  SamplingDefaults ignoring = kDefaults;
  ignoring.ignore_eos = true;
  EXPECT_THAT(sampling_of({}, ignoring, 0).stops, ElementsAre(9));
  EXPECT_THAT(sampling_of({.ignore_eos = false}, ignoring, 0).stops, ElementsAre(2, 5, 9));
}

TEST(RequestSamplingTest, WhoDrawsNothingHasNoSeed) {
  const Sampling sampling = sampling_of({.temperature = 0, .seed = 5}, kDefaults, 11);
  EXPECT_FALSE(sampling.draws());
  EXPECT_EQ(sampling.seed, 0);
}

}  // namespace
}  // namespace longspan

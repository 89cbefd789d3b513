#include "launch/bench/attention_prediction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "attention/strategy_time.h"
#include "comm/error.h"
#include "launch/bench/attention_cases.h"
#include "runtime/engine/rates_json.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;
using ::testing::HasSubstr;

BenchAttentionOptions options_for(int degree, std::vector<Layout> layouts) {
  BenchAttentionOptions options;
  options.tokens = {1, 8192};
  options.cached = 100;
  options.heads = {.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  options.layouts = std::move(layouts);
  options.degree = degree;
  options.predict = "two.json";
  return options;
}

MachineRates probed_rates() {
  MachineRates rates = default_rates("sm_90", 1);
  rates.grid = {.new_pages = {1, 2}, .cached_pages = {0}};
  rates.probed = {{.plan = {Strategy::kRing}, .chunks = {{3e-3, 1e-3}, {3e-3, 1e-3}}}};
  return rates;
}

class RatesFileTest : public ::testing::Test {
 protected:
  std::filesystem::path holding(const std::string& text) {
    const std::filesystem::path file = ::testing::TempDir() + "attention_prediction_test.json";
    std::ofstream(file) << text;
    return file;
  }
  std::string refusal(const std::filesystem::path& file) {
    try {
      read_rates(file, 2);
    } catch (const Error& error) {
      return error.what();
    }
    return "(accepted)";
  }
};

TEST_F(RatesFileTest, ProbesCountForTheDegreeTheyWereMadeWith) {
  const json rates = json_of(probed_rates());
  const auto of_bench = holding(json{{"degree", 2}, {"rates", rates}}.dump());
  EXPECT_EQ(read_rates(of_bench, 2).probed.size(), 1);
  EXPECT_TRUE(read_rates(of_bench, 4).probed.empty());
  EXPECT_EQ(read_rates(of_bench, 4).inside_host.bytes_per_second,
            probed_rates().inside_host.bytes_per_second);
  const auto kept = holding(json{{"format", 2}, {"rates", rates}}.dump());
  EXPECT_TRUE(read_rates(kept, 2).probed.empty());  // nobody knows of what degree they are
}

TEST_F(RatesFileTest, WhatHoldsNoRatesIsRefused) {
  EXPECT_THAT(refusal("/nowhere/two.json"), HasSubstr("No such file"));
  EXPECT_THAT(refusal(holding("{")), HasSubstr("it is not JSON"));
  EXPECT_THAT(refusal(holding("{}")), HasSubstr("some are missing"));
  json rates = json_of(probed_rates());
  rates["launch_seconds"] = -1;
  EXPECT_THAT(refusal(holding(json{{"rates", rates}}.dump())), HasSubstr("not above zero"));
}

TEST(AttentionPredictionTest, EveryWayIsWhatTheModelSays) {
  const MachineRates rates = default_rates("sm_90", 1);
  for (int degree : {1, 2, 3, 8}) {
    const auto options = options_for(degree, {Layout::kBlockCyclic, Layout::kZigzag});
    const auto cases = attention_cases(options, std::vector<int>(degree, 0));
    const auto chunks = predict_chunks(options, rates);
    ASSERT_EQ(chunks.size(), cases.size());
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      EXPECT_EQ(chunks[i].size, cases[i].size);
      ASSERT_EQ(chunks[i].ways.size(), cases[i].plans.size());
      for (const PredictedChunk::Way& one : chunks[i].ways) {
        EXPECT_DOUBLE_EQ(one.seconds,
                         predicted_seconds(one.plan, cases[i].shape, cases[i].question().wire(),
                                           cases[i].setting.hosts, rates));
      }
    }
  }
}

TEST(AttentionPredictionTest, AllWaysToDivideTheRanksAreToldUnlessSomeWereNamed) {
  auto options = options_for(8, {Layout::kBlockCyclic});
  const auto predicted = predict_chunks(options, default_rates("sm_90", 1)).back();
  const std::string table = prediction_table({predicted}, options);
  for (const char* way : {"ring", "ulysses", "usp 4 x 2", "usp 2 x 4", "double-ring 4 x 2"}) {
    EXPECT_THAT(table, HasSubstr(way));
  }
  options.strategies.named = {Strategy::kAllGather};
  const auto named = predict_chunks(options, default_rates("sm_90", 1)).back();
  EXPECT_EQ(named.choice.plan.strategy, Strategy::kAllGather);
  const json told = json::parse(prediction_json({named}, options));
  EXPECT_EQ(told.at("degree"), 8);
  EXPECT_EQ(told.at("chunks").at(0).at("strategies").size(), 1);
  EXPECT_EQ(told.at("chunks").at(0).at("chosen"), "all-gather");
  EXPECT_DOUBLE_EQ(told.at("chunks").at(0).at("chosen_predicted_s"), named.choice.seconds);
}

}  // namespace
}  // namespace longspan

// The benches themselves on ranks as threads, one of which takes no part.
#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "launch/bench/attention_figures.h"
#include "launch/bench/comm_figures.h"
#include "launch/bench/decode_figures.h"
#include "launch/bench/model_figures.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

constexpr int kRanks = 4, kDegree = 3;
const std::atomic<bool> kRunning = false;
const std::atomic<bool> kInterrupted = true;

template <typename Options>
Options quick() {
  Options options;
  options.seconds = std::chrono::milliseconds(1);
  return options;
}

BenchAttentionOptions attention_options() {
  auto options = quick<BenchAttentionOptions>();
  options.tokens = {1, 37};
  options.cached = 21;
  options.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16};
  options.layouts = {Layout::kFolded, Layout::kContiguous};
  options.page_tokens = 4;
  options.calibrate = CalibrationEffort::kOff;
  return options;
}

TEST(BenchFiguresTest, AttentionMeasuresEveryLegalStrategyOfEveryCase) {
  const BenchAttentionOptions options = attention_options();
  test::run_machines(kRanks, [&](Machine& machine) {
    AttentionBench bench(machine, options, kDegree);
    EXPECT_FALSE(bench.matrix_product());
    std::vector<std::size_t> strategies;
    bench.run(kRunning, [&](const AttentionFigure& figure) {
      strategies.push_back(figure.strategies.size());
      EXPECT_GE(figure.regret(), 0);
      EXPECT_EQ(figure.rematch.has_value(), figure.chosen != figure.fastest().plan);
      EXPECT_GT(figure.ideal.seconds, 0);
    });
    EXPECT_EQ(strategies, (std::vector<std::size_t>{6, 3, 6, 3}));
  });
}

TEST(BenchFiguresTest, AttentionMeasuresEveryWayToDivideTheRanks) {
  BenchAttentionOptions options = attention_options();
  options.tokens = {37};
  options.layouts = {Layout::kBlockCyclic};
  options.strategies.named = {Strategy::kUsp};
  test::run_machines(6, [&](Machine& machine) {
    AttentionBench bench(machine, options, 6);
    std::vector<int> inner;
    bench.run(kRunning, [&](const AttentionFigure& figure) {
      for (const StrategyFigure& one : figure.strategies) inner.push_back(one.plan.inner);
    });
    EXPECT_EQ(inner, (std::vector{3, 2}));
  });
}

TEST(BenchFiguresTest, AttentionStopsOnAllRanksWhenOneIsInterrupted) {
  const BenchAttentionOptions options = attention_options();
  test::run_machines(kRanks, [&](Machine& machine) {
    AttentionBench bench(machine, options, kDegree);
    bench.run(machine.rank() == 2 ? kInterrupted : kRunning,
              [](const AttentionFigure&) { ADD_FAILURE() << "after an interrupt"; });
  });
}

TEST(BenchFiguresTest, RegretIsThatOfTheChosenOverTheFastestWhenTheyMeetAgain) {
  const auto figure = [](double chosen, double fastest) {
    AttentionFigure one;
    one.rematch = Rematch{.chosen = {.seconds = chosen}, .fastest = {.seconds = fastest}};
    return one;
  };
  EXPECT_EQ(figure(3, 2).regret(), 0.5);
  EXPECT_EQ(figure(2, 3).regret(), 0) << "it was fastest by luck";
  EXPECT_EQ(AttentionFigure().regret(), 0) << "what was chosen came out fastest";
  const Regret all = regret_of({figure(3, 2), figure(2, 3)});
  EXPECT_EQ(all.worst, 0.5);
  EXPECT_EQ(all.mean, 0.25);
  EXPECT_EQ(regret_of({}).worst, 0);
}

TEST(BenchFiguresTest, DecodeMeasuresEveryStrategyOfEveryStep) {
  auto options = quick<BenchDecodeOptions>();
  options.contexts = {1, 50};
  options.rows = {1, 5};
  options.heads = {.query_heads = 6, .kv_heads = 2, .head_dim = 16};
  options.page_tokens = 4;
  test::run_machines(kRanks, [&](Machine& machine) {
    DecodeBench bench(machine, options, kDegree);
    int steps = 0;
    bench.run(kRunning, [&](const DecodeFigure& figure) {
      ++steps;
      EXPECT_EQ(figure.strategies.size(), kDecodeStrategies.size());
    });
    EXPECT_EQ(steps, 4);
  });
}

TEST(BenchFiguresTest, CommMeasuresEverySizeAndTwoRoundTrips) {
  auto options = quick<BenchCommOptions>();
  options.bytes = {1, 100'000};
  for (const auto& [ranks, degree, trips] : {std::array{1, 1, 0}, {4, 1, 0}, {4, 3, 2}}) {
    test::run_machines(ranks, [&, degree = degree, trips = trips](Machine& machine) {
      const CommFigures figures = measure_comm(machine, options, degree, kRunning);
      EXPECT_EQ(figures.ring.size(), 2u);
      EXPECT_EQ(std::ssize(figures.round_trips), trips);
    });
  }
}

/// One layer that sees all, and one that sees three keys.
ModelConfig windowed_model() {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 8;
  config.ffn = 5;
  config.heads = {.query_heads = 2, .kv_heads = 1, .head_dim = 16};
  config.vocabulary = 11;
  config.masks = LayerMasks({Mask::causal(), Mask::window(3)});
  return config;
}

TEST(BenchFiguresTest, AModelsWorkIsWhatItsLayersSee) {
  const ModelWork work(windowed_model(), Precision::kBFloat16, KvType::kFloat32);
  const double layer = 8 * (32 + 2 * 16 + 32 + 3 * 5);  // Q, K and V, output, gate, up and down
  EXPECT_EQ(work.weight_bytes(), 2 * (2 * layer + 8 * 11));
  EXPECT_EQ(work.key_bytes(0), 2 * 2 * 16 * 4);
  EXPECT_EQ(work.key_bytes(9), (10 + 3) * 2 * 16 * 4);
  const double pairs = 10 + (1 + 2 + 3 + 3);  // of four tokens
  EXPECT_EQ(work.prefill_flop(4), 2 * (2 * layer * 4 + 8 * 11) + 4 * 2 * 16 * pairs);
}

TEST(BenchFiguresTest, WhoReadsWeightsFollowsFromTheDecodeStrategy) {
  const auto split = [](DecodeStrategy decode, int tp) {
    return ModelSplit{.degree = 3, .tp = tp, .decode = decode};
  };
  EXPECT_EQ(split(DecodeStrategy::kShipped, 2).weight_readers(), 2);
  EXPECT_EQ(split(DecodeStrategy::kTree, 1).weight_readers(), 1);
  EXPECT_EQ(split(DecodeStrategy::kMirrored, 2).weight_readers(), 6);
  EXPECT_EQ(split(DecodeStrategy::kSliced, 1).weight_readers(), 3);
  EXPECT_EQ(split(DecodeStrategy::kMirrored, 2).weight_share(), 1.0 / 2);
  EXPECT_EQ(split(DecodeStrategy::kSliced, 1).weight_share(), 1.0 / 3);
}

}  // namespace
}  // namespace longspan

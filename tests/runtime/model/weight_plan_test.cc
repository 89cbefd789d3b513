#include "runtime/model/weight_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace longspan {
namespace {

ModelConfig smollm2() {
  return {.name = "SmolLM2",
          .architecture = "llama",
          .layers = 30,
          .hidden = 576,
          .ffn = 1536,
          .heads = {9, 3, 64},
          .vocabulary = 49'152,
          .tied_output = true};
}

class WeightPlanTest : public testing::Test {
 protected:
  WeightPlan plan(const ModelConfig& config, TensorType type = TensorType::kQ8_0) {
    return {config, type, *ops_};
  }
  std::unique_ptr<ModelOps> ops_ = new_cpu_model_ops();
};

TEST_F(WeightPlanTest, NeedsTheFloatsOfTheLayersAndTheBytesOfTheTable) {
  const std::size_t floats = 30 * (960 * 576 + 576 * 576 + 3072 * 576 + 576 * 1536 + 2 * 576) +
                             576 + std::size_t{49'152} * 576;
  const std::size_t table = std::size_t{49'152} * 576 / 32 * 34;
  const std::size_t bytes = plan(smollm2()).bytes();
  EXPECT_GE(bytes, floats * 4 + table);
  EXPECT_LE(bytes, (floats * 4 + table) * 1.01);  // alignment, and padding of a blocked layout
}

TEST_F(WeightPlanTest, NothingOverlapsAndEverythingIsAligned) {
  ModelConfig config = smollm2();
  config.hidden = 580;  // rows that are no multiple of 64 bytes
  const WeightPlan layout = plan(config, TensorType::kF32);
  std::vector<std::pair<std::size_t, std::size_t>> pieces{
      {layout.header(), WeightPlan::kHeaderBytes},
      {layout.embedding(), 4ULL * config.vocabulary * config.hidden},
      {layout.output_norm(), 4ULL * config.hidden},
      {layout.output(), layout.output_layout().bytes()}};
  for (int i = 0; i < config.layers; ++i) {
    const WeightPlan::Layer& at = layout.layer(i);
    pieces.insert(pieces.end(), {{at.attention_norm, 4ULL * config.hidden},
                                 {at.qkv, layout.qkv_layout().bytes()},
                                 {at.attention_output, layout.attention_output_layout().bytes()},
                                 {at.ffn_norm, 4ULL * config.hidden},
                                 {at.gate_up, layout.gate_up_layout().bytes()},
                                 {at.down, layout.down_layout().bytes()}});
  }
  std::ranges::sort(pieces);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].first % 64, 0u);
    const std::size_t next = i + 1 < pieces.size() ? pieces[i + 1].first : layout.bytes();
    EXPECT_LE(pieces[i].first + pieces[i].second, next);
  }
}

TEST_F(WeightPlanTest, DigestsTellPlansApart) {
  const std::uint64_t digest = plan(smollm2()).digest();
  EXPECT_EQ(plan(smollm2()).digest(), digest);
  EXPECT_NE(plan(smollm2(), TensorType::kF16).digest(), digest);
  ModelConfig wider_queries = smollm2();
  wider_queries.heads = {8, 4, 64};  // the same qkv, another attention output
  EXPECT_NE(plan(wider_queries).digest(), digest);
}

}  // namespace
}  // namespace longspan

#include "runtime/engine/memory_plan.h"

#include <gmock/gmock.h>

#include "comm/error.h"

namespace longspan {
namespace {

using testing::HasSubstr;

constexpr int kRanks = 4;
constexpr std::int64_t kPlenty = std::int64_t{1} << 40;
constexpr PlannedStrategy kAllGather{Strategy::kAllGather};

ModelConfig config() {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 64;
  config.ffn = 128;
  config.vocabulary = 256;
  config.heads = {.query_heads = 4, .kv_heads = 4, .head_dim = 16};
  return config;
}

/// Eight long prompts at once, in short chunks: all-gather lands three streams, the ring two.
JobShape job(std::vector<PlannedStrategy> plans) {
  JobShape job{.degree = kRanks, .chunk_tokens = 512, .plans = std::move(plans)};
  for (int id = 0; id < 8; ++id) {
    job.requests.push_back({.id = id, .prompt_tokens = 8000, .max_new = 100});
  }
  return job;
}

std::int64_t bytes(const WorkerMemory& memory) { return memory.bytes(config()); }

TEST(MemoryPlanTest, PlentyOfMemoryHoldsEveryRequestAndEveryStrategy) {
  const WorkerMemory memory = plan_memory(config(), job({{}, kAllGather}), kPlenty);
  EXPECT_TRUE(memory.limits.strategies.contains(PlannedStrategy{}));
  EXPECT_TRUE(memory.limits.strategies.contains(kAllGather));
  EXPECT_EQ(memory.pages, 8 * ((507 + kRanks - 1) / kRanks));
}

TEST(MemoryPlanTest, ThePlanNeverExceedsWhatIsLeft) {
  const std::int64_t most = bytes(plan_memory(config(), job({{}, kAllGather}), kPlenty));
  for (std::int64_t left = most; left > most / 2; left -= most / 50) {
    for (const auto& plans : {std::vector{PlannedStrategy{}}, std::vector{kAllGather},
                              std::vector{PlannedStrategy{}, kAllGather}}) {
      try {
        EXPECT_LE(bytes(plan_memory(config(), job(plans), left)), left);
      } catch (const OutOfMemory&) {
      }
    }
  }
}

TEST(MemoryPlanTest, AStrategyAmongSeveralTakesNoPageFromTheRequests) {
  const WorkerMemory ring = plan_memory(config(), job({{}}), kPlenty);
  const WorkerMemory both = plan_memory(config(), job({{}, kAllGather}), bytes(ring));
  EXPECT_EQ(both.pages, ring.pages);
  EXPECT_FALSE(both.limits.strategies.contains(kAllGather));
}

TEST(MemoryPlanTest, TheOneAskedForMayTakePagesButNotTheLongestRequests) {
  const WorkerMemory ring = plan_memory(config(), job({{}}), kPlenty);
  const WorkerMemory tight = plan_memory(config(), job({kAllGather}), bytes(ring));
  EXPECT_TRUE(tight.limits.strategies.contains(kAllGather));
  EXPECT_LT(tight.pages, ring.pages);

  JobShape one = job({{}});
  one.requests.resize(1);
  const std::int64_t just_enough = bytes(plan_memory(config(), one, kPlenty));
  one.plans = {kAllGather};
  const WorkerMemory fallback = plan_memory(config(), one, just_enough);
  EXPECT_FALSE(fallback.limits.strategies.contains(kAllGather));
  EXPECT_TRUE(fallback.limits.strategies.contains(PlannedStrategy{}));
}

/// Blocks of 64 of the chunk, which is the whole prompt elsewhere: a byte for each two of them by
/// KV head, and sums of doubles of every rank.
TEST(MemoryPlanTest, WhatIsChosenIsPlannedForAndMovingRowsToo) {
  const auto planned = [](const Approximation& attention) {
    JobShape shape = job({{}});
    shape.attention = attention;
    return bytes(plan_memory(config(), shape, kPlenty));
  };
  const std::int64_t exact = planned({});
  EXPECT_EQ(planned(usual_sizes(AttentionKind::kSinks)), exact);
  EXPECT_EQ(planned(usual_sizes(AttentionKind::kStar)), exact);
  Approximation sparse = usual_sizes(AttentionKind::kBlockSparse);
  sparse.balances_rows = false;
  const std::int64_t blocks = (512 + 63) / 64;  // of the longest chunk
  EXPECT_EQ(planned(sparse) - exact,
            4 * blocks * blocks + (kRanks + 1) * blocks * (4 + 4) * 16 * 8);
  const std::int64_t chosen = planned(sparse);
  sparse.balances_rows = true;
  EXPECT_GT(planned(sparse), chosen);
  EXPECT_GT(planned(usual_sizes(AttentionKind::kApb)), exact);
}

TEST(MemoryPlanTest, NarrowPagesTakeHalf) {
  JobShape narrow = job({{}});
  narrow.kv_type = KvType::kBFloat16;
  const WorkerMemory wide = plan_memory(config(), job({{}}), kPlenty);
  const WorkerMemory half = plan_memory(config(), narrow, kPlenty);
  EXPECT_EQ(half.pages, wide.pages);
  EXPECT_EQ(2 * half.page.page_bytes(), wide.page.page_bytes());
}

TEST(MemoryPlanTest, WhatCannotFitIsRefusedWithTheNumbers) {
  try {
    plan_memory(config(), job({{}}), 1 << 20);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("has 1.00 MiB left"));
    EXPECT_THAT(error.what(), HasSubstr("--prefill-chunk"));
  }
}

}  // namespace
}  // namespace longspan

#include "runtime/engine/memory_plan.h"

#include <gmock/gmock.h>

#include <iostream>

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
  EXPECT_EQ(memory.kv.pages, 8 * ((507 + kRanks - 1) / kRanks));
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
  EXPECT_EQ(both.kv.pages, ring.kv.pages);
  EXPECT_FALSE(both.limits.strategies.contains(kAllGather));
}

TEST(MemoryPlanTest, TheOneAskedForMayTakePagesButNotTheLongestRequests) {
  const WorkerMemory ring = plan_memory(config(), job({{}}), kPlenty);
  const WorkerMemory tight = plan_memory(config(), job({kAllGather}), bytes(ring));
  EXPECT_TRUE(tight.limits.strategies.contains(kAllGather));
  EXPECT_LT(tight.kv.pages, ring.kv.pages);

  JobShape one = job({{}});
  one.requests.resize(1);
  const std::int64_t just_enough = bytes(plan_memory(config(), one, kPlenty));
  one.plans = {kAllGather};
  const WorkerMemory fallback = plan_memory(config(), one, just_enough);
  EXPECT_FALSE(fallback.limits.strategies.contains(kAllGather));
  EXPECT_TRUE(fallback.limits.strategies.contains(PlannedStrategy{}));
}

/// Of 4, 8, 12, 16 and 5 tokens in pages of 4 on two ranks.
TEST(MemoryPlanTest, EveryRankHasRoomForTheLargestShareOfThePages) {
  std::vector<int> pages;
  for (std::int64_t tokens : {4, 8, 12, 16, 5}) {
    JobShape shape{.degree = 2, .page_tokens = 4};
    shape.requests.push_back({.prompt_tokens = tokens, .max_new = 1});
    pages.push_back(plan_memory(config(), shape, kPlenty).kv.pages);
  }
  EXPECT_THAT(pages, testing::ElementsAre(1, 1, 2, 2, 1));
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
  EXPECT_EQ(half.kv.pages, wide.kv.pages);
  EXPECT_EQ(2 * half.kv.page.page_bytes(), wide.kv.page.page_bytes());
}

/// And what they fill in: a page of bfloat16 for each sequence that runs, and those of a chunk.
TEST(MemoryPlanTest, Int8PagesTakeAboutAQuarterAndThePlanStaysExact) {
  JobShape narrow = job({{}});
  narrow.kv_type = KvType::kInt8;
  const WorkerMemory wide = plan_memory(config(), job({{}}), kPlenty);
  const WorkerMemory quarter = plan_memory(config(), narrow, kPlenty);
  EXPECT_EQ(quarter.kv.pages, wide.kv.pages);
  EXPECT_EQ(quarter.kv.page.page_bytes(), wide.kv.page.page_bytes() / 4 + 2 * 2 * 4 * 4);
  EXPECT_EQ(quarter.kv.tails, 8);
  EXPECT_EQ(quarter.kv.fresh, 512 / 16 + 1);
  const std::int64_t exact = bytes(quarter);
  EXPECT_EQ(bytes(plan_memory(config(), narrow, exact)), exact);
  EXPECT_LT(plan_memory(config(), narrow, exact - 1).kv.pages, quarter.kv.pages);
}

// The figures of docs/performance/cpu-strategies.md: what a rank needs beside weights and pages.
TEST(MemoryPlanTest, ABlockBoundsTheWidestActivationsWhateverTheChunk) {
  ModelConfig llama_8b;
  llama_8b.layers = 32;
  llama_8b.hidden = 4096;
  llama_8b.ffn = 14336;
  llama_8b.vocabulary = 128256;
  llama_8b.heads = {.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  for (int degree : {1, 4}) {
    JobShape shape{.degree = degree, .chunk_tokens = 65536};
    shape.requests.push_back({.prompt_tokens = 65536, .max_new = 1});
    const auto scratch = [&](std::int64_t block_rows) {
      shape.ffn_block_rows = block_rows;
      const WorkerMemory memory = plan_memory(llama_8b, shape, kPlenty);
      return static_cast<std::int64_t>(Transformer::memory_bytes(llama_8b, memory.limits));
    };
    const std::int64_t whole = scratch(65536), blocks = scratch(1024);
    std::cout << "Llama-3-8B, chunks of 65,536 tokens on " << degree << " ranks: " << whole / 1e6
              << " MB in one block, " << blocks / 1e6 << " MB in blocks of 1,024 rows\n";
    // Norm, query, key, value, gate, up and their product.
    const std::int64_t row = 4 * (4096 + 6144 + 3 * 14336);
    const std::int64_t rows = degree == 1 ? 65536 : 65536 / degree + 2 * 16 + 2;
    EXPECT_EQ(whole - blocks, (rows - 1024) * row);
  }
}

TEST(MemoryPlanTest, ARankHasRowsForWhatAStepMayHold) {
  JobShape shape = job({{}});
  const std::int64_t wanted = plan_memory(config(), shape, kPlenty).limits.rows;
  EXPECT_GT(wanted, 512 / kRanks + 7);
  for (const auto& [most, rows] :
       {std::pair<std::int64_t, std::int64_t>{wanted + 1, wanted}, {wanted, wanted}, {200, 200}}) {
    shape.step_rows = most;
    EXPECT_EQ(plan_memory(config(), shape, kPlenty).limits.rows, rows);
  }
}

// As a request that fills it with its prompt, and more of it never fits.
TEST(MemoryPlanTest, AConversationIsPlannedForItsRoomAndTheLongestIsFound) {
  for (Retention keep : {Retention::kSpread, Retention::kFewest}) {
    JobShape talk = job({{}});
    talk.keep = keep;
    talk.requests = {{.room = 10'000}};
    JobShape prompt = talk;
    prompt.requests = {{.prompt_tokens = 9'999, .max_new = 1}};
    const std::int64_t needed = bytes(plan_memory(config(), talk, kPlenty));
    EXPECT_EQ(needed, bytes(plan_memory(config(), prompt, kPlenty)));
    EXPECT_EQ(longest_room(config(), talk, kPlenty), 10'000);
    EXPECT_EQ(longest_room(config(), talk, needed), 10'000);
    EXPECT_EQ(longest_room(config(), talk, 0), 2);

    JobShape many = talk;
    many.requests.resize(8, talk.requests.front());
    EXPECT_EQ(longest_room(config(), many, kPlenty), 10'000);

    const std::int64_t left = needed / 4;
    const std::int64_t less = longest_room(config(), talk, left);
    EXPECT_LT(less, 9'000);
    const std::int64_t of_many = longest_room(config(), many, left);
    EXPECT_LE(of_many, less) << "eight rows decode together";
    for (RequestShape& request : many.requests) request.room = of_many;
    EXPECT_LE(bytes(plan_memory(config(), many, left)), left);
    talk.requests.front().room = less;
    EXPECT_LE(bytes(plan_memory(config(), talk, left)), left);
    talk.requests.front().room = less + 2 * kRanks * talk.page_tokens;
    EXPECT_THROW((void)plan_memory(config(), talk, left), OutOfMemory);
  }
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

// Of 17 tokens in pages of 16; the copy is of the second page, beside which one is spare.
TEST(MemoryPlanTest, AForkHasAPageForItsCopyBeside) {
  JobShape forked{.page_tokens = 16, .requests = {{.prompt_tokens = 17, .max_new = 1}}};
  const auto pages = [&] { return plan_memory(config(), forked, kPlenty).kv.pages; };
  EXPECT_EQ(pages(), 2);
  forked.requests.push_back({.prompt_tokens = 17, .max_new = 1, .like = 0});
  EXPECT_EQ(pages(), 2 + 2);
}

// Eight pages each, of which answers share the first; copies of the second are all of one rank.
TEST(MemoryPlanTest, ForksAreSetAsideForAsRequestsOfTheirOwnWhereNotAllRun) {
  JobShape forked{.degree = 4, .page_tokens = 5, .max_running = 4};
  for (int i = 0; i < 4; ++i) {
    forked.requests.push_back({.prompt_tokens = 9, .max_new = 28});
    if (i > 0) forked.requests.back().like = 0;
  }
  const auto pages = [&] { return plan_memory(config(), forked, kPlenty).kv.pages; };
  EXPECT_EQ(pages(), 2 + 3 * 3) << "a quarter of its pages, and a spare one";
  forked.max_running = 3;
  EXPECT_EQ(pages(), 3 * 2);
}

}  // namespace
}  // namespace longspan

#include "scheduler/chunk_budget.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "scheduler/step_size.h"

namespace longspan {
namespace {

constexpr Nanoseconds kMs = 1'000'000;

/// A millisecond a token, 10 a step, and 2 a row; keys are free.
CostModel milliseconds(double of_key = 0) {
  return {{{2, {.a = 0.010, .b = 0.001, .c = of_key, .d = of_key / 2}}},
          {{2, {.fixed = 0.010, .of_rows = {{1, 0.002}, {2, 0.004}}}}},
          1};
}

ChunkRules rules() {
  return {.degree = 2, .page_tokens = 4, .chunk_tokens = 100, .target = 50 * kMs};
}

const DecodeShape kNoRows{};
constexpr DecodeShape kARow{.rows = 1, .keys = 0};

TEST(ChunkBudgetTest, WithoutCostsOrATargetOnlyTheChunkLimitsAStep) {
  const CostModel costs = milliseconds();
  ChunkRules untimed = rules();
  untimed.target.reset();
  for (const auto& [rule, model] :
       {std::pair{rules(), static_cast<const CostModel*>(nullptr)}, {untimed, &costs}}) {
    EXPECT_EQ(ChunkBudget(rule, 1, kARow, model).take(0, 99), 99);
    EXPECT_EQ(ChunkBudget(rule, 1, kARow, model).take(0, 100), 100);
    EXPECT_EQ(ChunkBudget(rule, 1, kARow, model).take(0, 101), 100);
    ChunkBudget shared(rule, 1, kARow, model);
    EXPECT_EQ(shared.take(0, 30), 30);
    EXPECT_EQ(shared.take(0, 70), 70);
    EXPECT_EQ(shared.take(0, 1), 0);
    ChunkBudget full(rule, 1, kARow, model);
    EXPECT_EQ(full.take(0, 30), 30);
    EXPECT_EQ(full.take(0, 71), 0) << "only whole chunks share a step";
  }
}

// 50 ms leave 38 beside a step and a row: 38 tokens, in whole pages of two ranks 32.
TEST(ChunkBudgetTest, AChunkIsCutToWhatFitsIntoTheTime) {
  const CostModel costs = milliseconds();
  EXPECT_EQ(ChunkBudget(rules(), 1, kARow, &costs).take(0, 1000), 32);
  EXPECT_EQ(ChunkBudget(rules(), 1, kARow, &costs).take(0, 38), 38) << "a whole one may be uneven";
  EXPECT_EQ(ChunkBudget(rules(), 1, kARow, &costs).take(0, 39), 32);
  EXPECT_EQ(ChunkBudget(rules(), 3, {.rows = 3}, &costs).take(0, 1000), 32) << "34";
  EXPECT_EQ(ChunkBudget(rules(), 5, {.rows = 5}, &costs).take(0, 1000), 24) << "30";
}

TEST(ChunkBudgetTest, KeysBeforeTheChunkMakeItShorter) {
  const CostModel costs = milliseconds(1e-6);
  std::int64_t before = 1000;
  for (const std::int64_t computed : {0, 1000, 2000, 3000}) {
    const std::int64_t tokens = ChunkBudget(rules(), 1, kARow, &costs).take(computed, 1000);
    EXPECT_LE(costs.step(2, std::vector{ChunkSize{computed, tokens}}, kARow), 50 * kMs);
    EXPECT_GT(costs.step(2, std::vector{ChunkSize{computed, tokens + 8}}, kARow), 50 * kMs);
    EXPECT_LE(tokens, before);
    before = tokens;
  }
  EXPECT_LT(before, 16);
}

// There is always one page for each rank to read, however little time there is.
TEST(ChunkBudgetTest, APromptGoesOnEvenWhereNoTimeIsLeft) {
  const CostModel costs = milliseconds();
  for (const int rows : {15, 20, 21, 1000}) {
    EXPECT_EQ(ChunkBudget(rules(), rows, {.rows = rows}, &costs).take(0, 1000), 8) << rows;
    EXPECT_EQ(ChunkBudget(rules(), rows, {.rows = rows}, &costs).take(0, 3), 3) << rows;
  }
}

// 3 a are 30 ms, less than the target of 50; of a step that costs 41 ms they are 123, and of one
// that costs 299 no more than 500. A target above that stays.
TEST(ChunkBudgetTest, WhereNobodyDecodesTheTargetIsRelaxed) {
  const auto tokens = [](double step, Nanoseconds target, const DecodeShape& shape) {
    ChunkRules wide = rules();
    wide.chunk_tokens = 10'000;
    wide.target = target;
    const CostModel costs({{2, {.a = step, .b = 0.001}}}, {{2, {.fixed = step}}}, 1);
    return ChunkBudget(wide, shape.rows, shape, &costs).take(0, 10'000);
  };
  EXPECT_EQ(tokens(0.010, 50 * kMs, kNoRows), 40);
  EXPECT_EQ(tokens(0.041, 50 * kMs, kNoRows), 80) << "82";
  EXPECT_EQ(tokens(0.041, 50 * kMs, kARow), 8) << "9";
  EXPECT_EQ(tokens(0.299, 50 * kMs, kNoRows), 200) << "201";
  EXPECT_EQ(tokens(0.299, 800 * kMs, kNoRows), 496) << "501";
}

TEST(ChunkBudgetTest, ChunksShareAStepAsFarAsTimeGoes) {
  const CostModel costs = milliseconds();
  ChunkBudget budget(rules(), 0, kNoRows, &costs);  // 40 tokens
  EXPECT_EQ(budget.take(0, 10), 10);
  EXPECT_EQ(budget.take(0, 29), 29);
  EXPECT_EQ(budget.take(0, 2), 0);
  ChunkRules few = rules();
  few.max_chunks = 2;
  ChunkBudget two(few, 0, kNoRows, &costs);
  EXPECT_EQ(two.take(0, 1), 1);
  EXPECT_EQ(two.take(0, 1), 1);
  EXPECT_EQ(two.take(0, 1), 0);
}

TEST(ChunkBudgetTest, ABudgetIsFilledBesideTheRowsThatHaveTakenTheirPart) {
  ChunkRules filling = rules();
  filling.fills_budget = true;
  ChunkBudget budget(filling, 30, kARow, nullptr);
  EXPECT_EQ(budget.take(0, 20), 20);
  EXPECT_EQ(budget.take(0, 60), 48) << "of 50, in whole pages of both";
  EXPECT_EQ(budget.take(0, 3), 0) << "only two are left";
  EXPECT_EQ(budget.take(0, 2), 2);
  EXPECT_EQ(ChunkBudget(filling, 99, kARow, nullptr).take(0, 60), 8) << "the first always goes on";
  EXPECT_EQ(ChunkBudget(filling, 150, kARow, nullptr).take(0, 5), 5);
  ChunkBudget spent(filling, 150, kARow, nullptr);
  EXPECT_EQ(spent.take(0, 5), 5);
  EXPECT_EQ(spent.take(0, 1), 0);
  filling.cuts_are_fixed = true;
  EXPECT_EQ(ChunkBudget(filling, 30, kARow, nullptr).take(0, 100), 100) << "rounded keys stay";
}

// What was rounded with what must not hang on time; with whom a chunk shares a step may.
TEST(ChunkBudgetTest, WhereCutsAreFixedTimeCutsNothing) {
  const CostModel costs = milliseconds();
  ChunkRules fixed = rules();
  fixed.cuts_are_fixed = true;
  EXPECT_EQ(ChunkBudget(fixed, 1000, {.rows = 1000}, &costs).take(0, 1000), 100);
  ChunkBudget budget(fixed, 0, kNoRows, &costs);
  EXPECT_EQ(budget.take(0, 30), 30);
  EXPECT_EQ(budget.take(0, 11), 0);
  ChunkBudget shared(fixed, 0, kNoRows, &costs);
  EXPECT_EQ(shared.take(0, 30), 30);
  EXPECT_EQ(shared.take(0, 10), 10);
}

TEST(ChunkBudgetTest, TheMostTokensOfAChunkAreThoseThatRowsHold) {
  for (const std::int64_t ranks : {1, 2, 3, 8}) {
    for (const std::int64_t page : {1, 16, 128}) {
      for (std::int64_t rows = 0; rows < 700; rows += 7) {
        const std::int64_t most = most_chunk_tokens(rows, ranks, page);
        EXPECT_LE(most_rank_rows(most, 1, ranks, page), rows);
        EXPECT_GT(most_rank_rows(most + 1, 1, ranks, page), rows);
      }
    }
  }
}

// Whatever comes together, no rank gets more rows than there are, and the first prompt goes on.
TEST(ChunkBudgetTest, ARankNeverHasMoreRowsThanThereAre) {
  std::mt19937 random(1);
  const auto below = [&](int bound) { return static_cast<std::int64_t>(random() % bound); };
  const CostModel costs = milliseconds();
  int cut = 0;
  for (int round = 0; round < 20'000; ++round) {
    ChunkRules wanted{.degree = static_cast<int>(1 + below(5)),
                      .page_tokens = std::int64_t{1} << below(6),
                      .chunk_tokens = 1 + below(900),
                      .step_rows = 1 + below(300),
                      .cuts_are_fixed = below(2) == 0};
    if (below(2) == 0) wanted.target = below(100) * kMs;
    const std::int64_t running = 1 + below(static_cast<int>(wanted.step_rows));
    const ChunkRules kept = kept_beside(wanted, running - 1);
    ASSERT_GE(kept.chunk_tokens, 1);
    const std::int64_t decoding = below(static_cast<int>(running));
    ChunkBudget budget(kept, decoding, {.rows = decoding}, below(2) ? &costs : nullptr);
    std::int64_t rows = decoding;
    for (int chunk = 0; chunk < 20; ++chunk) {
      const std::int64_t left = 1 + below(1000), tokens = budget.take(below(5000), left);
      if (chunk == 0) {
        ASSERT_GE(tokens, 1);
        const bool is_whole = tokens == std::min(left, kept.chunk_tokens);
        ASSERT_TRUE(is_whole || !kept.cuts_are_fixed);
        cut += !is_whole;
      }
      if (tokens == 0) break;
      ASSERT_LE(tokens, left);
      rows += most_rank_rows(tokens, 1, kept.degree, kept.page_tokens);
    }
    ASSERT_LE(rows, kept.step_rows);
  }
  EXPECT_GT(cut, 1000);
}

}  // namespace
}  // namespace longspan

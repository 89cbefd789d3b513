#include "launch/bench/decode_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace longspan {
namespace {

std::vector<std::int32_t> many_slots() {
  std::vector<std::int32_t> slots(10'000);
  std::iota(slots.begin(), slots.end(), 0);
  return slots;
}

// Fewer pages than ranks, a broken last page, more rows than ranks.
TEST(DecodeCasesTest, TheRanksOwnEveryColumnOnce) {
  for (int ranks : {1, 2, 3, 5, 8}) {
    for (std::int64_t context : {1, 15, 16, 17, 33, 500}) {
      const DecodeCase one{.context = context, .rows = 7, .page_tokens = 16, .ranks = ranks};
      std::vector<std::int64_t> columns(7);
      for (int rank = 0; rank < ranks; ++rank) {
        const DecodeBatch batch = one.batch(rank, many_slots());
        std::set<std::int32_t> slots;
        std::int64_t pages = 0;
        for (int row = 0; row < 7; ++row) {
          const DecodeBatchRow& own = batch.rows[row];
          columns[row] += own.columns;
          pages += std::ssize(own.slots);
          slots.insert(own.slots.begin(), own.slots.end());
          EXPECT_EQ(own.owned_by(rank), own.columns > 0);
          EXPECT_TRUE(own.owned_by(own.master));
          EXPECT_TRUE(std::ranges::is_sorted(own.owners));
        }
        EXPECT_EQ(std::ssize(slots), pages);  // no two pages share memory
        EXPECT_EQ(one.pages(rank), pages) << ranks << " ranks, context " << context;
      }
      EXPECT_EQ(columns, std::vector<std::int64_t>(7, context));
    }
  }
}

// All see the same memory but for their last page.
TEST(DecodeCasesTest, AnswersToOnePromptShareItsPages) {
  for (int ranks : {1, 2, 3, 5}) {
    for (std::int64_t context : {1, 16, 17, 33, 500}) {
      const DecodeCase one{.context = context,
                           .rows = 4,
                           .page_tokens = 16,
                           .ranks = ranks,
                           .keys = RowKeys::kShared};
      std::vector<std::int64_t> columns(4);
      std::set<std::pair<int, std::int32_t>> memory;
      std::int64_t pages = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const DecodeBatch batch = one.batch(rank, many_slots());
        for (int row = 0; row < 4; ++row) {
          const DecodeBatchRow& own = batch.rows[row];
          columns[row] += own.columns;
          EXPECT_EQ(own.owned_by(rank), own.columns > 0);
          for (const std::int32_t slot : own.slots) memory.emplace(rank, slot);
        }
        pages += one.pages(rank);
      }
      EXPECT_EQ(columns, std::vector<std::int64_t>(4, context));
      EXPECT_EQ(std::ssize(memory), (context - 1) / 16 + 4) << ranks << " ranks of " << context;
      EXPECT_EQ(pages, std::ssize(memory));
    }
  }
}

TEST(DecodeCasesTest, RowsHaveDifferentMasters) {
  const DecodeCase one{.context = 100, .rows = 3, .page_tokens = 16, .ranks = 3};
  std::set<int> masters;
  for (const DecodeBatchRow& row : one.batch(0, many_slots()).rows) masters.insert(row.master);
  EXPECT_EQ(masters.size(), 3u);
}

TEST(DecodeCasesTest, EveryContextMeetsEveryNumberOfRows) {
  BenchDecodeOptions options;
  options.contexts = {5, 6};
  options.rows = {1, 2, 3};
  const auto cases = decode_cases(options, 4);
  ASSERT_EQ(cases.size(), 6u);
  EXPECT_EQ(cases[3].context, 6);
  EXPECT_EQ(cases[3].rows, 1);
  EXPECT_EQ(cases[3].ranks, 4);
}

}  // namespace
}  // namespace longspan

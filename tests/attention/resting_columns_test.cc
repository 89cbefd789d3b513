#include "attention/resting_columns.h"

#include <gtest/gtest.h>

#include "attention/kv_pages.h"

namespace longspan {
namespace {

constexpr HeadShape kShape{.query_heads = 6, .kv_heads = 2, .head_dim = 16};

TEST(RestingColumnsTest, WithoutScalesABytesIsAColumnsWorth) {
  for (KvType type : {KvType::kFloat32, KvType::kFloat16, KvType::kBFloat16}) {
    const Interval columns{5, 39};
    ASSERT_EQ(resting_parts(type, 16, columns, 39).size(), 1u);
    EXPECT_EQ(resting_bytes(type, kShape, 16, columns, 50), 34 * 64 * value_bytes(type));
    EXPECT_TRUE(resting_parts(type, 16, {7, 7}, 39).empty());
  }
}

/// 11 of a broken page, one whole one, 7 that are not rounded yet; 16 bytes of scales a page.
TEST(RestingColumnsTest, Int8TakesAByteAValueAndScalesForEachPage) {
  const auto parts = resting_parts(KvType::kInt8, 16, {5, 39}, 39);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].columns(), 11);
  EXPECT_EQ(parts[1].columns(), 16);
  EXPECT_EQ(parts[2].columns(), 7);
  EXPECT_EQ(parts[2].type, KvType::kBFloat16);
  EXPECT_EQ(resting_bytes(KvType::kInt8, kShape, 16, {5, 39}, 39),
            (11 * 64 + 16) + (16 * 64 + 16) + 7 * 64 * 2);
}

/// The last 7 are of a page that is full, then of one that is not.
TEST(RestingColumnsTest, Int8ColumnsMayEndBeforeTheRanksDo) {
  for (std::int64_t held : {48, 64}) {
    const auto parts = resting_parts(KvType::kInt8, 16, {5, 39}, held);
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[2].columns(), 7);
    EXPECT_EQ(parts[2].type, KvType::kInt8);
    EXPECT_EQ(resting_bytes(KvType::kInt8, kShape, 16, {5, 39}, held), 34 * 64 + 3 * 16);
  }
  EXPECT_EQ(resting_parts(KvType::kInt8, 16, {5, 39}, 47)[2].type, KvType::kBFloat16);
}

TEST(RestingColumnsTest, EveryIntervalOfEveryPageSizeIsCoveredOnce) {
  for (std::int64_t page_tokens : {1, 2, 7, 16, 1024}) {
    for (std::int64_t end = 0; end < 50; ++end) {
      for (std::int64_t begin = 0; begin <= end; ++begin) {
        const std::int64_t held = end + begin % 4 * 7;
        std::int64_t columns = 0, filling = 0;
        for (const RestingPart& part :
             resting_parts(KvType::kInt8, page_tokens, {begin, end}, held)) {
          EXPECT_GT(part.columns(), 0);
          EXPECT_EQ(part.bytes(kShape) % 8, 0);
          EXPECT_EQ(part.bytes(kShape),
                    part.pages * page_bytes(part.type, kShape, part.page_tokens));
          columns += part.columns();
          if (part.type == KvType::kBFloat16) filling += part.columns();
        }
        EXPECT_EQ(columns, end - begin);
        const std::int64_t at_rest = held / page_tokens * page_tokens;
        EXPECT_EQ(filling, std::max<std::int64_t>(end - std::max(begin, at_rest), 0));
      }
    }
  }
}

TEST(RestingColumnsTest, NoSetOfIntervalsTakesMoreThanTheMost) {
  for (KvType type : kKvTypes) {
    for (std::int64_t page_tokens : {1, 2, 7, 16, 1024}) {
      for (std::int64_t end = 0; end < 40; ++end) {
        for (std::int64_t begin = 0; begin <= end; ++begin) {
          const std::int64_t bytes = resting_bytes(type, kShape, page_tokens, {begin, end}, end);
          EXPECT_LE(bytes, most_resting_bytes(type, kShape, page_tokens, end - begin, 1));
          // Beside a rank without the page that is not full.
          const std::int64_t whole = end / page_tokens * page_tokens;
          const std::int64_t of_two = bytes + resting_bytes(type, kShape, page_tokens,
                                                            {std::min(begin, whole), whole}, whole);
          const std::int64_t columns = end - begin + whole - std::min(begin, whole);
          EXPECT_LE(of_two, most_resting_bytes(type, kShape, page_tokens, columns, 2));
          // Behind an anchor.
          for (std::int64_t anchor : {std::int64_t{1}, page_tokens, begin - 1}) {
            if (anchor < 0 || anchor > begin) continue;
            EXPECT_LE(bytes + resting_bytes(type, kShape, page_tokens, {0, anchor}, end),
                      most_resting_bytes(type, kShape, page_tokens, anchor + end - begin, 1));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan

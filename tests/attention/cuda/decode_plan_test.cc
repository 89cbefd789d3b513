// The plan of a decode launch against what the call says: every column of every row once, and
// splits that follow from the row alone.
#include "attention/cuda/decode_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "comm/str.h"

namespace longspan {
namespace {

/// Memory is never touched here.
void* address(std::uintptr_t at) { return reinterpret_cast<void*>(at); }

KvSegment segment_of(std::int64_t len, std::uintptr_t at = 1 << 20) {
  return {.view = {.k = address(at),
                   .v = address(at + 4096),
                   .head_stride = 16 * 64,
                   .page_stride = 4 * 16 * 64,
                   .page_tokens = 16,
                   .type = KvType::kBFloat16},
          .len = len,
          .positions = {}};
}

DecodeRow row_of(const std::vector<std::int64_t>& lengths) {
  DecodeRow row;
  for (std::int64_t length : lengths) row.segments.push_back(segment_of(length));
  return row;
}

TEST(SplitColumns, ARowHasFewSplitsAndTheyArePowersOfTwo) {
  for (std::int64_t total : {1, 2, 63, 64, 65, 2047, 2048, 2049, 8191, 8192, 8193, 32'768, 32'769,
                             131'072, 131'073, 1'000'000, 100'000'000, 2'147'483'583}) {
    const auto columns = static_cast<std::int32_t>(total);
    const std::int32_t size = split_columns(columns), count = count_splits(columns);
    EXPECT_EQ(size & (size - 1), 0) << columns;
    EXPECT_GE(size, 64) << columns;
    EXPECT_LE(count, kMostSplits) << columns;
    EXPECT_GE(std::int64_t{size} * count, columns);
    EXPECT_LT(std::int64_t{size} * (count - 1), columns);
  }
  EXPECT_EQ(count_splits(0), 0);
  EXPECT_EQ(split_columns(2048), 64);
  EXPECT_EQ(split_columns(8192), 256);
  EXPECT_EQ(split_columns(32'768), 256);
  EXPECT_EQ(split_columns(131'072), 1024);
}

/// By row, its splits in the plan's order.
std::vector<std::vector<DecodeSplit>> splits_of_rows(const DecodePlan& plan) {
  std::vector<std::vector<DecodeSplit>> splits(plan.rows.size());
  for (const DecodeSplit& split : plan.splits) splits.at(split.row).push_back(split);
  return splits;
}

/// Of each row: one after the other from column 0 to the last, with parts side by side.
void expect_covers(const std::vector<DecodeRow>& rows, const DecodePlan& plan) {
  ASSERT_EQ(plan.rows.size(), rows.size());
  const auto splits = splits_of_rows(plan);
  std::int32_t parts = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::int64_t total = 0;
    for (const KvSegment& segment : rows[r].segments) total += segment.len;
    const SplitRow& row = plan.rows[r];
    ASSERT_EQ(row.splits, count_splits(static_cast<std::int32_t>(total))) << r;
    ASSERT_EQ(std::ssize(splits[r]), row.splits) << r;
    ASSERT_EQ(row.first_part, parts) << r;
    std::int64_t next = 0;
    for (const DecodeSplit& split : splits[r]) {
      ASSERT_EQ(split.part, parts++);
      ASSERT_EQ(split.first_column, next);
      ASSERT_GT(split.columns, 0);
      const SplitKeys& keys = plan.keys[split.keys];
      ASSERT_LE(keys.begin, split.first_column);
      ASSERT_GT(keys.end, split.first_column);
      next += split.columns;
    }
    ASSERT_EQ(next, total) << r;
  }
  EXPECT_EQ(std::ssize(plan.splits), parts);
  EXPECT_EQ(plan.counts().splits, parts);
}

TEST(DecodePlan, EveryColumnIsInOneSplit) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<DecodeRow> rows;
    const int count = std::uniform_int_distribution(0, 6)(random);
    for (int r = 0; r < count; ++r) {
      std::vector<std::int64_t> lengths(std::uniform_int_distribution(0, 5)(random));
      const int most = r % 2 ? 40 : 5000;
      for (auto& length : lengths) length = std::uniform_int_distribution(0, most)(random);
      rows.push_back(row_of(lengths));
    }
    SCOPED_TRACE(str("round {}", round));
    expect_covers(rows, plan_decode(rows));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(DecodePlan, KeysAreTheSegmentsWithColumnsEndToEnd) {
  const std::vector<DecodeRow> rows{row_of({5, 0, 70}), row_of({}), row_of({0, 1})};
  const DecodePlan plan = plan_decode(rows);
  ASSERT_EQ(plan.keys.size(), 3u);
  EXPECT_EQ(plan.keys[0].begin, 0);
  EXPECT_EQ(plan.keys[0].end, 5);
  EXPECT_EQ(plan.keys[1].begin, 5);
  EXPECT_EQ(plan.keys[1].end, 75);
  EXPECT_EQ(plan.keys[2].end, 1);
  const auto splits = splits_of_rows(plan);
  EXPECT_EQ(splits[0].at(0).keys, 0);
  EXPECT_EQ(splits[0].at(1).keys, 1);
  EXPECT_EQ(splits[2].at(0).keys, 2);
  EXPECT_EQ(plan.rows[1].splits, 0);
}

TEST(DecodePlan, RowsOfLongSplitsComeFirst) {
  const DecodePlan plan = plan_decode(std::vector{row_of({100}), row_of({200'000}), row_of({90})});
  EXPECT_EQ(plan.splits.front().row, 1);
  EXPECT_EQ(plan.splits.at(plan.rows[1].splits).row, 0);
  EXPECT_EQ(plan.splits.back().row, 2);
}

// Rows that share pages read them one after the other.
TEST(DecodePlan, EqualSplitsGoColumnByColumn) {
  const DecodePlan plan = plan_decode(std::vector{row_of({130}), row_of({200}), row_of({60})});
  std::vector<std::pair<int, int>> order;
  for (const DecodeSplit& split : plan.splits) order.emplace_back(split.first_column, split.row);
  EXPECT_EQ(order, (std::vector<std::pair<int, int>>{
                       {0, 0}, {0, 1}, {0, 2}, {64, 0}, {64, 1}, {128, 0}, {128, 1}, {192, 1}}));
}

TEST(DecodePlan, WhatDoesNotFitIsKnown) {
  const auto fits = [](auto change) {
    DecodeRow row = row_of({100});
    change(row.segments[0]);
    return fits_splits(row);
  };
  EXPECT_TRUE(fits([](KvSegment&) {}));
  EXPECT_TRUE(fits([](KvSegment& one) { one.view.page_tokens = 3; }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.type = KvType::kFloat32; }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.type = KvType::kFloat16; }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.k = address(1032); }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.v = address(1032); }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.head_stride += 4; }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.view.page_stride += 4; }));
  EXPECT_FALSE(fits([](KvSegment& one) { one.len = std::int64_t{1} << 31; }));
  EXPECT_TRUE(fits([](KvSegment& one) { one.len = 0, one.view.type = KvType::kInt8; }));
  EXPECT_TRUE(fits_splits(row_of({})));
  EXPECT_FALSE(fits_splits(row_of({std::int64_t{1} << 30, std::int64_t{1} << 30})));
}

}  // namespace
}  // namespace longspan

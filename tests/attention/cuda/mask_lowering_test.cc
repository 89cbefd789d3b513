#include "attention/cuda/mask_lowering.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/str.h"

namespace longspan {
namespace {

std::vector<std::int64_t> positions_of(const PositionRun& run) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  return all;
}

std::string text(const PositionRun& run) {
  return str("{}+{}/{}x{}", run.first, run.block, run.stride, run.count);
}

KvSegment segment_of(const PositionRun& positions, const Mask& mask) {
  return {.view = {}, .len = positions.count, .mask = mask, .positions = positions};
}

/// Whether bounds say of each row what the segment itself says.
testing::AssertionResult agrees(const RowRun& run, const KvSegment& segment) {
  const auto seen = lowered(run.positions, segment);
  if (!seen) return testing::AssertionFailure() << "not lowered";
  for (std::int64_t i = 0; i < run.positions.count; ++i) {
    const Interval exact = segment.seen(run.positions.position(i));
    const std::int32_t row = static_cast<std::int32_t>(i);
    const std::int64_t begin = seen->begin.of(row), end = seen->end.of(row);
    const bool both_empty = exact.begin >= exact.end && begin >= end;
    if (both_empty || (exact.begin == begin && exact.end == end)) continue;
    return testing::AssertionFailure()
           << str("row {} of {} sees [{}, {}) of {}, not [{}, {})", i, text(run.positions),
                  exact.begin, exact.end, text(segment.positions), begin, end);
  }
  return testing::AssertionSuccess();
}

/// Shards of several layouts, with a chunk that begins anywhere: the pairs that rings meet.
std::vector<std::vector<PositionRun>> shards() {
  std::vector<std::vector<PositionRun>> all;
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    for (int ranks : {1, 2, 3, 5}) {
      for (std::int64_t first : {0, 5, 16, 37}) {
        for (std::int64_t count : {1, 7, 32, 101}) {
          std::vector<PositionRun> of_all;
          for (int rank = 0; rank < ranks; ++rank) {
            for (const PositionRun& run : shard({layout, first, count, ranks, 8}, rank)) {
              if (run.count > 0) of_all.push_back(run);
            }
          }
          all.push_back(of_all);
        }
      }
    }
  }
  return all;
}

TEST(MaskLowering, PairsOfShardsAreLoweredWhole) {
  int lowered_pairs = 0;
  for (const auto& runs : shards()) {
    for (const PositionRun& queries : runs) {
      for (const PositionRun& keys : runs) {
        const KvSegment segment = segment_of(keys, Mask::causal());
        if (!lowered(queries, segment)) continue;  // a solid rest against blocks
        ++lowered_pairs;
        ASSERT_TRUE(agrees({0, queries}, segment));
      }
    }
  }
  EXPECT_GT(lowered_pairs, 2000);
}

TEST(MaskLowering, EveryPairFitsOnceItIsCut) {
  const std::vector<Mask> masks{Mask::causal(),   Mask::full(),          Mask::window(1),
                                Mask::window(8),  Mask::window(13),      Mask::window(16),
                                Mask::window(99), Mask::window(1L << 40)};
  for (const auto& runs : shards()) {
    for (const PositionRun& queries : runs) {
      std::vector<KvSegment> segments;
      for (const PositionRun& keys : runs) {
        for (const Mask& mask : masks) segments.push_back(segment_of(keys, mask));
      }
      std::int64_t next = 0;
      for (const RowRun& part : cut_to_fit({0, queries}, segments)) {
        ASSERT_EQ(part.first_row, next);
        for (std::int64_t i = 0; i < part.positions.count; ++i) {
          ASSERT_EQ(part.positions.position(i), queries.position(next + i)) << text(queries);
        }
        for (const KvSegment& segment : segments) ASSERT_TRUE(agrees(part, segment));
        next += part.positions.count;
      }
      ASSERT_EQ(next, queries.count);
    }
  }
}

TEST(MaskLowering, ACutSegmentLengthCounts) {
  for (std::int64_t len : {0, 1, 63, 64, 65, 100}) {
    KvSegment segment = segment_of({0, 1, 1, 100}, Mask::window(30));
    segment.len = len;
    EXPECT_TRUE(agrees({0, {40, 1, 1, 120}}, segment)) << len;
  }
}

TEST(MaskLowering, CyclicPagesAgainstThemselvesStayWhole) {
  const PositionRun near{128, 128, 512, 1000}, before{0, 128, 512, 1000},
      behind{256, 128, 512, 900};
  EXPECT_EQ(lowered(near, near, 0)->gran, 0);
  EXPECT_EQ(lowered(near, near, 0)->off, 1);
  EXPECT_EQ(lowered(near, before, 0)->gran, 127);
  EXPECT_EQ(lowered(near, before, 0)->off, 128);
  EXPECT_EQ(lowered(near, behind, 0)->gran, 127);
  EXPECT_EQ(lowered(near, behind, 0)->off, 0);
}

TEST(RunsOfPositions, AreTheListAgain) {
  for (const auto& runs : shards()) {
    std::vector<std::int64_t> list;
    for (const PositionRun& run : runs) {
      std::ranges::copy(positions_of(run), std::back_inserter(list));
    }
    std::vector<std::int64_t> again;
    for (const RowRun& run : runs_of(list)) {
      EXPECT_EQ(run.first_row, std::ssize(again));
      std::ranges::copy(positions_of(run.positions), std::back_inserter(again));
    }
    EXPECT_EQ(again, list);
  }
}

TEST(RunsOfPositions, AShardIsFoundAsItWasDealt) {
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kContiguous}) {
    for (std::int64_t first : {0, 5, 16, 37}) {
      for (int rank : {0, 1, 2}) {
        const auto runs = shard({layout, first, 1000, 3, 16}, rank);
        std::vector<std::int64_t> list;
        for (const PositionRun& run : runs) {
          std::ranges::copy(positions_of(run), std::back_inserter(list));
        }
        EXPECT_LE(runs_of(list).size(), runs.size()) << name(layout) << " from " << first;
      }
    }
  }
}

TEST(RunsOfPositions, AnyOrderWillDo) {
  std::mt19937 random(1);
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::vector<std::int64_t> list(60);
    std::iota(list.begin(), list.end(), repeat - 5);
    std::ranges::shuffle(list, random);
    const KvSegment segment = segment_of({0, 4, 12, 30}, Mask::window(9));
    std::vector<std::int64_t> again;
    for (const RowRun& run : runs_of(list)) {
      for (const RowRun& part : cut_to_fit(run, {&segment, 1})) {
        EXPECT_EQ(part.first_row, std::ssize(again));
        std::ranges::copy(positions_of(part.positions), std::back_inserter(again));
        EXPECT_TRUE(agrees(part, segment));
      }
    }
    EXPECT_EQ(again, list);
  }
}

}  // namespace
}  // namespace longspan

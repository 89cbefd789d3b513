// What every AttentionKernels promises of sliding windows: both bounds of what a row sees, and that
// nothing else is touched.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "attention/shard_layout.h"
#include "comm/str.h"
#include "tests/attention/kernels_conformance.h"

namespace longspan::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kEmpty = -std::numeric_limits<float>::infinity();

std::vector<std::int64_t> positions_of(const PositionRun& run) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  return all;
}

/// The definition: keys (query - window, query]. Keys of the problem are at their own positions.
Sees in_window(const std::vector<std::int64_t>& queries, std::int64_t window) {
  return [&queries, window](std::int64_t row, std::int64_t key) {
    return key <= queries[row] && key > queries[row] - window;
  };
}

/// Windows around tiles and pages, of one key, and of more than there are.
constexpr std::array<std::int64_t, 14> kWindows{1,  2,  15,  16,  17,  63,   64,
                                                65, 97, 128, 129, 299, 1000, 1LL << 40};

TEST_P(KernelsConformance, WindowsOfEverySizeEqualTheOracle) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  for (std::int64_t keys : {1, 64, 65, 300}) {
    for (std::int64_t rows : {1, 33, 130}) {
      const auto problem = random_problem(shape, rows, keys, 5);
      const auto queries = from(std::max<std::int64_t>(keys - rows, 0), rows);
      for (std::int64_t window : kWindows) {
        const auto exact = dense_attention(problem, in_window(queries, window));
        for (std::int64_t page_tokens : {0, 1, 16, 128}) {
          const DeviceKv kv(on_, problem, iota(keys), page_tokens);
          const KvSegment segment = kv.masked_segment(Mask::window(window), solid(0, keys));
          expect_near(
              on_.prefill({problem, queries, {{segment}}}), exact, "windows",
              str("{} keys, {} rows, window {}, pages of {}", keys, rows, window, page_tokens));
        }
      }
    }
  }
}

/// Rows of one rank over cached pages spread over the ranks, which have positions of their own, and
/// over each rank's new keys.
TEST_P(KernelsConformance, WindowsFollowPositionsInEveryLayout) {
  const HeadShape shape{.query_heads = 6, .kv_heads = 2, .head_dim = 24};
  constexpr std::int64_t kCached = 96, kNew = 205, kKeys = kCached + kNew, kPage = 16;
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    for (const auto& [ranks, query_rank] : {std::pair{1, 0}, {3, 0}, {5, 4}}) {
      const Deal deal{layout, kCached, kNew, ranks, kPage};
      std::vector<std::int64_t> queries;
      for (const PositionRun& run : shard(deal, query_rank)) {
        for (std::int64_t position : positions_of(run)) queries.push_back(position);
      }
      const auto problem = random_problem(shape, std::ssize(queries), kKeys, 11);
      std::vector<PositionRun> runs;
      for (int rank = 0; rank < ranks; ++rank) {
        const std::int64_t blocks = (kCached / kPage - rank + ranks - 1) / ranks;
        if (blocks > 0) runs.push_back({rank * kPage, kPage, ranks * kPage, blocks * kPage});
        for (const PositionRun& run : shard(deal, rank)) runs.push_back(run);
      }
      for (std::int64_t window : {1, 13, 16, 40, 150, 400}) {
        std::vector<std::unique_ptr<DeviceKv>> held;
        std::vector<KvSegment> segments;
        for (const PositionRun& run : runs) {
          held.push_back(std::make_unique<DeviceKv>(on_, problem, positions_of(run), kPage));
          segments.push_back(held.back()->masked_segment(Mask::window(window), run));
        }
        expect_near(on_.prefill({problem, queries, {segments}}),
                    dense_attention(problem, in_window(queries, window)), "windows in layouts",
                    str("{}, {} ranks, window {}", name(layout), ranks, window));
      }
    }
  }
}

TEST_P(KernelsConformance, AWindowOfEverythingGivesTheBitsOfACausalMask) {
  const HeadShape shape{.query_heads = 4, .kv_heads = 2, .head_dim = 32};
  const auto problem = random_problem(shape, 70, 700, 7);
  const DeviceKv kv(on_, problem, iota(700), 16);
  const auto run = [&](const Mask& mask) {
    return on_.prefill({problem, from(610, 70), {{kv.masked_segment(mask, solid(0, 700))}}});
  };
  EXPECT_TRUE(run(Mask::causal()) == run(Mask::window(680)));
  EXPECT_FALSE(run(Mask::causal()) == run(Mask::window(679)));  // the last row misses key 0
}

/// Older and newer keys than any row sees, and gaps: rows whose window lies between two segments.
TEST_P(KernelsConformance, SegmentsOutsideOfEveryWindowChangeNoBits) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  const auto problem = random_problem(shape, 40, 400, 17);
  const auto queries = from(200, 40);
  const Mask mask = Mask::window(20);
  const DeviceKv before(on_, problem, from(0, 181), 16), seen(on_, problem, from(181, 30), 16),
      gone(on_, problem, from(300, 100), 16);
  const KvSegment with = seen.masked_segment(mask, solid(181, 30));
  const Computed alone = on_.prefill({problem, queries, {{with}}});
  EXPECT_EQ(alone, on_.prefill({problem,
                                queries,
                                {{before.masked_segment(mask, solid(0, 181)), with,
                                  gone.masked_segment(mask, solid(300, 100))}}}));
  // Row 230 sees keys from 211 on: none of these.
  for (std::size_t row = 0; row < 40; ++row) {
    for (std::size_t head = 0; head < 3; ++head) {
      EXPECT_EQ(alone.lse[row * 3 + head] == kEmpty, row >= 30) << row;
    }
    if (row >= 30) {
      EXPECT_EQ(alone.o[row * 3 * 16], 0.0f);
    }
  }
}

TEST_P(KernelsConformance, NanOutsideOfAWindowStaysAway) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  constexpr std::int64_t kWindow = 37, kKey = 101;
  auto problem = random_problem(shape, 200, 200, 19);
  const auto queries = iota(200);
  const auto exact = dense_attention(problem, in_window(queries, kWindow));
  std::fill_n(problem.k.begin() + kKey * 16, 16, kNan);
  std::fill_n(problem.v.begin() + kKey * 16, 16, kNan);
  const DeviceKv kv(on_, problem, iota(200), 16);
  const Computed computed =
      on_.prefill({problem, queries, {{kv.masked_segment(Mask::window(kWindow), solid(0, 200))}}});
  for (std::size_t i = 0; i < computed.o.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i / (3 * 16));
    const bool poisoned = row >= kKey && row < kKey + kWindow;
    ASSERT_EQ(std::isnan(computed.o[i]), poisoned) << "row " << row;
    if (poisoned) continue;
    ASSERT_NEAR(computed.o[i], exact.o[i], GetParam().tolerance()) << "row " << row;
  }
}

/// Tiles of columns that no row sees cost nothing: their pages lie where there is no memory.
TEST_P(KernelsConformance, PagesOutsideOfEveryWindowAreNotTouched) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 16};
  constexpr std::int64_t kWindow = 40, kFirst = 500, kRows = 70, kPage = 16;
  const auto problem = random_problem(shape, kRows, 1000, 23);
  const auto queries = from(kFirst, kRows);
  const DeviceKv kv(on_, problem, iota(1000), kPage);
  KvSegment segment = kv.masked_segment(Mask::window(kWindow), solid(0, 1000));
  std::vector<std::int32_t> table(segment.view.table, segment.view.table + 63);
  constexpr std::int64_t kTile = 64;  // the most columns of a tile that any kernel takes at once
  const std::int64_t first_tile = (kFirst - kWindow + 1) / kTile * kTile;
  for (std::int64_t page = 0; page < std::ssize(table); ++page) {
    const bool outside = (page + 1) * kPage <= first_tile || page * kPage >= kFirst + kRows;
    if (outside) table[page] = 1 << 28;
  }
  segment.view.table = table.data();
  expect_near(on_.prefill({problem, queries, {{segment}}}),
              dense_attention(problem, in_window(queries, kWindow)), "pages outside of windows",
              "");
}

TEST_P(KernelsConformance, AWindowedRowsBitsDoNotDependOnItsNeighbours) {
  const HeadShape shape{.query_heads = 3, .kv_heads = 1, .head_dim = 32};
  const auto problem = random_problem(shape, 70, 700, 31);
  const auto queries = from(610, 70);
  const DeviceKv kv(on_, problem, iota(700), 16);
  for (std::int64_t window : {1, 50, 200}) {
    const KvSegment segment = kv.masked_segment(Mask::window(window), solid(0, 700));
    const Computed all = on_.prefill({problem, queries, {{segment}}});
    const std::int64_t values = 3 * 32;
    for (std::int64_t row : {0, 33, 69}) {
      DenseProblem alone = problem;
      alone.q.assign(problem.q.begin() + row * values, problem.q.begin() + (row + 1) * values);
      const Computed one = on_.prefill({alone, {queries[row]}, {{segment}}});
      EXPECT_TRUE(std::equal(one.o.begin(), one.o.end(), all.o.begin() + row * values))
          << "window " << window << ", row " << row;
    }
  }
}

/// Decode rows have no positions: whoever decodes under a window cuts the segments.
TEST_P(KernelsConformance, DecodeRefusesMaskedSegments) {
  const auto problem = random_problem({3, 1, 16}, 1, 20, 37);
  const DeviceKv kv(on_, problem, iota(20), 16);
  EXPECT_THROW(on_.decode(problem, {{kv.masked_segment(Mask::window(4), solid(0, 20))}}),
               std::logic_error);
}

}  // namespace
}  // namespace longspan::test

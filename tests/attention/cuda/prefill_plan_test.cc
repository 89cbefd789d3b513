// The plan of a launch, walked on the host as the kernel's producer and consumers walk it, against
// what the call says.
#include "attention/cuda/prefill_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <tuple>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr int kHeadDim = 64;
constexpr int kKvHeads = 3;

/// Memory is never touched here.
void* address(std::uintptr_t at) { return reinterpret_cast<void*>(at); }

struct Keys {
  std::vector<std::int32_t> table;
  KvSegment segment;
};

/// page_tokens 0: contiguous. Slots in random order.
Keys make_keys(std::int64_t page_tokens, std::int64_t len, const Mask& mask,
               const PositionRun& positions, std::uint32_t seed) {
  Keys keys;
  const std::int64_t page = page_tokens > 0 ? page_tokens : std::max<std::int64_t>(len, 1);
  const std::uintptr_t base = std::uintptr_t{1} << 40 | std::uintptr_t{seed} << 34;
  keys.segment = {.view = {.k = address(base),
                           .v = address(base + 2 * kKvHeads * page * kHeadDim),
                           .head_stride = page * kHeadDim,
                           .page_stride = 2 * kKvHeads * page * kHeadDim,
                           .page_tokens = page,
                           .type = KvType::kBFloat16},
                  .len = len,
                  .mask = mask,
                  .positions = positions};
  if (page_tokens > 0) {
    keys.table.resize((len + page - 1) / page);
    std::iota(keys.table.begin(), keys.table.end(), 3);
    std::ranges::shuffle(keys.table, std::mt19937(seed));
    keys.segment.view.table = keys.table.data();
  }
  return keys;
}

/// Tables stay where they are: the host walks.
PrefillPlan planned(std::span<const std::int64_t> positions, std::span<const KvSegment> segments) {
  PrefillPlan plan = plan_prefill(positions, segments);
  for (std::size_t i = 0; i < plan.segments.size(); ++i) {
    plan.segments[i].table = segments[plan.sources[i]].view.table;
  }
  return plan;
}

bool sees(const TileSegment& segment, std::int32_t row, std::int32_t column) {
  return column >= segment.begin.of(row) && column < segment.end.of(row);
}

/// A block is taken to need no mask only where all rows of the warpgroup see all of it.
void check_masked(const BlockWalk& walk, const QueryTile& tile) {
  for (int group : {0, 64}) {
    const std::int32_t first = tile.in_run + group;
    const SeenByAll seen(walk.segment(), first, first + 63);
    if (!seen.holds(walk.block())) continue;
    for (std::int32_t row = first; row < first + 64; ++row) {
      for (std::int32_t i : {0, 1, 64, 127}) {
        ASSERT_TRUE(sees(walk.segment(), row, walk.block() * kBlockColumns + i));
      }
    }
  }
}

/// What a warpgroup skips to fold in without masks is all that follows and needs none.
void check_skipped(const BlockWalk& walk, const QueryTile& tile) {
  for (int group : {0, 64}) {
    const std::int32_t first = tile.in_run + group;
    const SeenByAll seen(walk.segment(), first, first + 63);
    BlockWalk skipping = walk, stepping = walk;
    for (std::int32_t left = skipping.skip_inside(seen); left > 0; --left) {
      ASSERT_TRUE(stepping.next());
      ASSERT_FALSE(stepping.begins_segment());
      ASSERT_TRUE(seen.holds(stepping.block()));
    }
    ASSERT_EQ(skipping.block(), stepping.block());
    const bool more = stepping.next();
    ASSERT_EQ(skipping.next(), more);
    if (!more) continue;
    ASSERT_EQ(skipping.block(), stepping.block());
    ASSERT_EQ(skipping.begins_segment(), stepping.begins_segment());
    ASSERT_FALSE(!stepping.begins_segment() && seen.holds(stepping.block()));
  }
}

/// Every column of the block is copied from where the view has it.
void check_boxes(const BlockWalk& walk, const KvView& view, const PlannedView& planned) {
  const TileSegment& segment = walk.segment();
  const std::int32_t block = walk.block(), box_tokens = 1 << segment.box_shift;
  ASSERT_EQ(box_tokens, planned.box_tokens);
  std::int32_t column = block * kBlockColumns;
  const std::int32_t end = std::min(segment.len, (block + 1) * kBlockColumns);
  for (std::int32_t box = 0; box < segment.boxes(block); ++box) {
    ASSERT_EQ(segment.box_column(block, box), column);
    const std::int32_t page = segment.page(column), inside = segment.in_page(column);
    const std::int64_t slot = segment.table ? segment.table[page] : page;
    ASSERT_LT(slot, planned.slots);
    for (std::int32_t i = 0; i < box_tokens && column + i < end; ++i) {
      ASSERT_LT(inside + i, planned.page_columns);
      for (int head = 0; head < kKvHeads; ++head) {
        const std::int64_t at = slot * planned.page_stride + head * planned.head_stride +
                                std::int64_t{inside + i} * kHeadDim;
        ASSERT_EQ(at, view.offset(column + i, head, kHeadDim));
      }
    }
    column += box_tokens;
  }
  ASSERT_GE(column, end);
  ASSERT_LE(segment.boxes(block) * box_tokens, kBlockColumns);
  ASSERT_EQ(planned.k, view.k);
  ASSERT_EQ(planned.v, view.v);
}

/// All that the plan's tiles fold in, against what each row sees.
void check(std::span<const std::int64_t> positions, std::span<const KvSegment> segments) {
  const PrefillPlan plan = planned(positions, segments);
  std::vector<int> tiles_of(positions.size());
  std::int64_t longest = std::numeric_limits<std::int64_t>::max();
  for (const QueryTile& tile : plan.query_tiles) {
    ASSERT_TRUE(tile.rows >= 1 && tile.rows <= kTileRows);
    // Columns of each segment by row: each once, segments in list order.
    std::vector<std::map<int, std::set<std::int32_t>>> found(tile.rows);
    std::int64_t blocks = 0;
    int source = -1;
    for (BlockWalk walk = walk_over(tile, plan.segments.data()); walk.next(); ++blocks) {
      const int of_block = plan.sources[walk.segment_index()];
      if (walk.begins_segment()) {
        ASSERT_GT(of_block, source);
      } else {
        ASSERT_EQ(of_block, source);
      }
      source = of_block;
      check_masked(walk, tile);
      check_skipped(walk, tile);
      check_boxes(walk, segments[source].view, plan.views[walk.segment().view]);
      for (std::int32_t row = 0; row < tile.rows; ++row) {
        for (std::int32_t i = 0; i < kBlockColumns; ++i) {
          const std::int32_t column = walk.block() * kBlockColumns + i;
          if (!sees(walk.segment(), tile.in_run + row, column)) continue;
          ASSERT_TRUE(found[row][source].insert(column).second);
        }
      }
    }
    ASSERT_GT(blocks, 0);
    ASSERT_LE(blocks, longest);
    longest = blocks;
    for (std::int32_t row = 0; row < tile.rows; ++row) {
      ++tiles_of[tile.row + row];
      for (std::size_t i = 0; i < segments.size(); ++i) {
        const Interval seen = segments[i].seen(positions[tile.row + row]);
        const auto& columns = found[row][static_cast<int>(i)];
        ASSERT_EQ(std::ssize(columns), std::max<std::int64_t>(0, seen.end - seen.begin));
        if (columns.empty()) continue;
        ASSERT_EQ(*columns.begin(), seen.begin);
        ASSERT_EQ(*columns.rbegin(), seen.end - 1);
      }
    }
  }
  for (std::size_t row = 0; row < positions.size(); ++row) {
    ASSERT_LE(tiles_of[row], 1);
    const bool sees_some = std::ranges::any_of(segments, [&](const KvSegment& segment) {
      const Interval seen = segment.seen(positions[row]);
      return seen.begin < seen.end;
    });
    if (sees_some) {
      ASSERT_EQ(tiles_of[row], 1) << row;
    }
  }
}

std::vector<std::int64_t> iota(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

PositionRun solid(std::int64_t first, std::int64_t count) { return {first, count, count, count}; }

TEST(PrefillPlan, TailsOfRowsAndColumns) {
  for (std::int64_t rows : {1, 63, 64, 65, 127, 128, 129, 300}) {
    for (std::int64_t len : {1, 63, 64, 65, 127, 128, 129, 300}) {
      for (std::int64_t page : {0, 8, 16, 64, 128, 256}) {
        for (const Mask& mask : {Mask::causal(), Mask::full(), Mask::window(192)}) {
          SCOPED_TRACE(str("{} rows, {} columns, pages of {}", rows, len, page));
          const Keys keys = make_keys(page, len, mask, solid(0, len), 1);
          ASSERT_TRUE(fits_tiles(keys.segment));
          check(iota(std::max<std::int64_t>(len - rows, 0), rows), {&keys.segment, 1});
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

/// Query rows that begin anywhere between keys: every distance to the diagonal.
TEST(PrefillPlan, OffsetsOfTheDiagonal) {
  for (std::int64_t first : {0, 1, 63, 64, 65, 127, 128, 129, 400}) {
    for (std::int64_t window : {0, 1, 64, 192, 200}) {
      SCOPED_TRACE(str("first {}, window {}", first, window));
      const Mask mask = window == 0 ? Mask::causal() : Mask::window(window);
      const Keys keys = make_keys(16, 500, mask, solid(100, 500), 2);
      check(iota(first, 200), {&keys.segment, 1});
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

/// What rings hand over: cached keys, then each rank's new ones, in every layout.
TEST(PrefillPlan, SegmentsOfLayouts) {
  for (Layout layout : {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                        Layout::kContiguous, Layout::kFolded}) {
    for (const Mask& mask : {Mask::causal(), Mask::window(96), Mask::window(150)}) {
      const Deal deal{layout, 70, 900, 3, 16};
      std::vector<std::int64_t> positions;
      for (const PositionRun& run : shard(deal, 1)) {
        for (std::int64_t i = 0; i < run.count; ++i) positions.push_back(run.position(i));
      }
      std::vector<Keys> held;
      held.push_back(make_keys(16, 70, mask, solid(0, 70), 1));
      for (int rank = 0; rank < 3; ++rank) {
        for (const PositionRun& run : shard(deal, rank)) {
          held.push_back(make_keys(0, run.count, mask, run, 2 + held.size()));
        }
      }
      std::vector<KvSegment> segments;
      for (const Keys& keys : held) {
        if (keys.segment.len > 0) segments.push_back(keys.segment);
      }
      SCOPED_TRACE(name(layout));
      check(positions, segments);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(PrefillPlan, RowsThatSeeNothingAreInNoTile) {
  const Keys keys = make_keys(16, 100, Mask::causal(), solid(200, 100), 1);
  EXPECT_TRUE(planned(iota(0, 200), {&keys.segment, 1}).query_tiles.empty());
  const PrefillPlan one = planned(iota(0, 201), {&keys.segment, 1});
  ASSERT_EQ(one.query_tiles.size(), 1u);
  EXPECT_EQ(one.query_tiles[0].row, 128);
}

TEST(PrefillPlan, SegmentsOfOneMemoryShareAView) {
  std::vector<Keys> held;
  std::vector<KvSegment> segments;
  for (std::uint32_t i = 0; i < 40; ++i) {
    held.push_back(make_keys(16, 200 + i, Mask::full(), {}, i / 2));
    segments.push_back(held.back().segment);
  }
  const PrefillPlan plan = plan_prefill(iota(0, 5), segments);
  EXPECT_EQ(plan.views.size(), 20u);
  EXPECT_EQ(segments_within(segments, 16), 32u);
  EXPECT_EQ(segments_within({segments.data() + 32, 8}, 16), 8u);
  EXPECT_EQ(segments_within(segments, 1), 2u);
}

TEST(PrefillPlan, WhatDoesNotFitIsKnown) {
  const auto fits = [](auto change) {
    Keys keys = make_keys(16, 100, Mask::causal(), solid(0, 100), 1);
    change(keys.segment);
    return fits_tiles(keys.segment);
  };
  EXPECT_TRUE(fits([](KvSegment&) {}));
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.type = KvType::kFloat32; }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.type = KvType::kInt8; }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.page_tokens = 4; }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.page_tokens = 48; }));
  EXPECT_TRUE(fits([](KvSegment& s) { s.view.page_tokens = 1000; }));  // one page
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.k = address(0x1008); }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.view.head_stride += 4; }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.mask = Mask::blocks({.anchor = 0, .block = 64}); }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.mask = Mask::sinks(4, 64); }));
  EXPECT_TRUE(fits([](KvSegment& s) { s.mask = Mask::window(64); }));
  EXPECT_FALSE(fits([](KvSegment& s) { s.mask = Mask::chosen(); }));
}

/// A part of a page may end where memory does: no more of it may be read than its columns.
TEST(PrefillPlan, APartOfAPageIsReadToItsEndOnly) {
  Keys keys = make_keys(128, 128, Mask::full(), {}, 1);
  keys.segment.view = keys.segment.view.from(100, kHeadDim);
  keys.segment.len = 28;
  const PrefillPlan plan = planned(iota(0, 5), {&keys.segment, 1});
  EXPECT_EQ(plan.views.at(0).page_columns, 28);
  check(iota(0, 5), {&keys.segment, 1});
}

TEST(TileOrder, DealsEveryTileOnceAndHeadsSideBySide) {
  for (int heads : {1, 3, 8, 32}) {
    for (int section : {1, 4, 5, 32}) {
      const TileOrder order{.query_tiles = 7, .heads = heads, .section = std::min(section, heads)};
      std::set<std::pair<int, int>> found;
      TileOrder::Tile before{0, -1};
      for (int i = 0; i < order.count(); ++i) {
        const TileOrder::Tile tile = order.at(i);
        found.emplace(tile.query_tile, tile.head);
        ASSERT_TRUE(tile.query_tile >= 0 && tile.query_tile < 7 && tile.head >= 0 &&
                    tile.head < heads);
        const bool same_section = tile.head / order.section == before.head / order.section;
        if (same_section && before.head >= 0) {
          EXPECT_LE(std::tuple(before.query_tile, before.head),
                    std::tuple(tile.query_tile, tile.head));
        }
        before = tile;
      }
      EXPECT_EQ(std::ssize(found), order.count());
    }
  }
}

TEST(TileOrder, SectionsAreOfKeysThatFitTogether) {
  const HeadShape shape{.query_heads = 32, .kv_heads = 8, .head_dim = 128};
  const auto section = [&](std::int64_t columns) {
    const Keys keys = make_keys(128, columns, Mask::full(), {}, 1);
    return order_tiles(plan_prefill(iota(0, 1), {&keys.segment, 1}), shape).section;
  };
  EXPECT_EQ(section(4096), 32);    // 2 MiB a KV head
  EXPECT_EQ(section(16'384), 16);  // 8 MiB
  EXPECT_EQ(section(131'072), 4);  // 64 MiB: one at a time
}

}  // namespace
}  // namespace longspan

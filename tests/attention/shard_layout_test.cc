#include "attention/shard_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>

namespace longspan {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Layout kLayouts[] = {Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                               Layout::kContiguous, Layout::kFolded};

std::vector<std::int64_t> positions(const std::vector<PositionRun>& runs) {
  std::vector<std::int64_t> all;
  for (const PositionRun& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  }
  return all;
}

std::vector<std::vector<std::int64_t>> shards(const Deal& deal) {
  std::vector<std::vector<std::int64_t>> all;
  for (int rank = 0; rank < deal.ranks; ++rank) all.push_back(positions(shard(deal, rank)));
  return all;
}

std::string text(const Deal& deal) {
  return std::string(name(deal.layout)) + " first " + std::to_string(deal.first) + " count " +
         std::to_string(deal.count) + " ranks " + std::to_string(deal.ranks) + " block " +
         std::to_string(deal.block);
}

/// Every deal worth a look: all layouts, ranks 1 to 8, starts on and off block borders, lengths
/// around multiples of ranks and blocks.
template <typename Visit>
void for_many_deals(Visit visit) {
  for (Layout layout : kLayouts) {
    for (int ranks : {1, 2, 3, 5, 7, 8}) {
      for (std::int64_t block : {1, 2, 3, 16}) {
        for (std::int64_t first : {0, 1, 5, 15, 16, 17, 63, 100}) {
          for (std::int64_t count : {0, 1, 2, 7, 15, 16, 17, 31, 64, 127, 131}) {
            visit(Deal{layout, first, count, ranks, block});
          }
        }
      }
    }
  }
}

TEST(PositionRun, VisibleCountsThePositionsUpToTheQuery) {
  for (std::int64_t first : {0, 1, 7}) {
    for (std::int64_t block : {1, 2, 3, 8}) {
      for (std::int64_t gap : {0, 1, 2, 5, 24}) {
        for (std::int64_t count : {0, 1, 2, 3, 8, 9, 17, 40}) {
          const PositionRun run{first, block, block + gap, count};
          const std::int64_t past = count > 0 ? run.last() + 3 : first + 3;
          for (std::int64_t query = -2; query <= past; ++query) {
            std::int64_t expected = 0;
            for (std::int64_t i = 0; i < count; ++i) expected += run.position(i) <= query;
            ASSERT_EQ(run.visible(query), expected)
                << first << " " << block << " " << block + gap << " " << count << " q " << query;
          }
        }
      }
    }
  }
}

TEST(PositionRun, ColumnsAreThoseWhosePositionsLieInTheInterval) {
  for (std::int64_t block : {1, 2, 4}) {
    const PositionRun run{3, block, block * 3, 11};
    for (std::int64_t begin = 0; begin < 50; ++begin) {
      for (std::int64_t end = begin; end < 50; ++end) {
        const auto [from, to] = columns(run, {begin, end});
        for (std::int64_t i = 0; i < run.count; ++i) {
          const bool inside = run.position(i) >= begin && run.position(i) < end;
          ASSERT_EQ(i >= from && i < to, inside) << block << " " << begin << " " << end << " " << i;
        }
      }
    }
  }
}

std::vector<std::pair<std::int64_t, std::int64_t>> kept(const Deal& deal, Interval retained) {
  std::vector<std::pair<std::int64_t, std::int64_t>> all;
  for (int rank = 0; rank < deal.ranks; ++rank) {
    const Interval kept_columns = columns(shard(deal, rank).at(0), retained);
    all.emplace_back(kept_columns.begin, kept_columns.end);
  }
  return all;
}

TEST(PositionRun, RetentionKeepsTheColumnsOfTheRetainedPositions) {
  using P = std::pair<std::int64_t, std::int64_t>;
  const Deal even{Layout::kStriped, 0, 20, 4};
  EXPECT_THAT(kept(even, {0, 12}), ElementsAre(P{0, 3}, P{0, 3}, P{0, 3}, P{0, 3}));
  EXPECT_THAT(kept(even, {12, 20}), ElementsAre(P{3, 5}, P{3, 5}, P{3, 5}, P{3, 5}));
  const Deal odd{Layout::kStriped, 0, 21, 4};
  EXPECT_THAT(kept(odd, {0, 10}), ElementsAre(P{0, 3}, P{0, 3}, P{0, 2}, P{0, 2}));
  EXPECT_THAT(kept(odd, {10, 21}), ElementsAre(P{3, 6}, P{3, 5}, P{2, 5}, P{2, 5}));
  const Deal cyclic{Layout::kBlockCyclic, 0, 17, 3, 2};
  EXPECT_THAT(kept(cyclic, {0, 8}), ElementsAre(P{0, 4}, P{0, 2}, P{0, 2}));
  EXPECT_THAT(kept(cyclic, {8, 17}), ElementsAre(P{4, 6}, P{2, 6}, P{2, 5}));
}

TEST(ShardLayout, EveryPositionIsDealtExactlyOnce) {
  for_many_deals([](const Deal& deal) {
    std::multiset<std::int64_t> dealt;
    for (const auto& shard : shards(deal)) dealt.insert(shard.begin(), shard.end());
    ASSERT_EQ(static_cast<std::int64_t>(dealt.size()), deal.count) << text(deal);
    std::int64_t expected = deal.first;
    for (std::int64_t position : dealt) ASSERT_EQ(position, expected++) << text(deal);
  });
}

TEST(ShardLayout, AShardsRunsAreSortedNonEmptyAndWellFormed) {
  for_many_deals([](const Deal& deal) {
    for (int rank = 0; rank < deal.ranks; ++rank) {
      const auto runs = shard(deal, rank);
      for (const PositionRun& run : runs) {
        ASSERT_GT(run.count, 0) << text(deal);
        ASSERT_GE(run.stride, run.block) << text(deal);
      }
      const auto all = positions(runs);
      ASSERT_TRUE(std::ranges::is_sorted(runs, {}, &PositionRun::first)) << text(deal);
      const bool in_order = deal.layout != Layout::kFolded;
      ASSERT_TRUE(!in_order || std::ranges::is_sorted(all)) << text(deal);
      ASSERT_EQ(token_count(runs), static_cast<std::int64_t>(all.size())) << text(deal);
    }
  });
}

TEST(ShardLayout, CyclicLayoutsDealByAbsolutePosition) {
  for_many_deals([](const Deal& deal) {
    if (deal.layout != Layout::kBlockCyclic && deal.layout != Layout::kStriped) return;
    const std::int64_t block = deal.layout == Layout::kStriped ? 1 : deal.block;
    for (int rank = 0; rank < deal.ranks; ++rank) {
      for (std::int64_t position : positions(shard(deal, rank))) {
        ASSERT_EQ(position / block % deal.ranks, rank) << text(deal);
      }
    }
  });
}

TEST(ShardLayout, FoldedDealsByAbsolutePositionOverTwiceTheRanks) {
  for_many_deals([](const Deal& deal) {
    if (deal.layout != Layout::kFolded) return;
    const int last = 2 * deal.ranks - 1;
    for (int rank = 0; rank < deal.ranks; ++rank) {
      for (std::int64_t position : positions(shard(deal, rank))) {
        const std::int64_t place = position / deal.block % (last + 1);
        ASSERT_TRUE(place == rank || place == last - rank) << text(deal);
      }
    }
  });
}

TEST(ShardLayout, AStepThatStartsInsideABlockFinishesItInARunOfItsOwn) {
  const Deal deal{Layout::kBlockCyclic, 5, 20, 2, 4};
  const auto runs = shard(deal, 1);  // blocks 4-7, 12-15, 20-23
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_THAT(positions({runs[0]}), ElementsAre(5, 6, 7));
  EXPECT_THAT(positions({runs[1]}), ElementsAre(12, 13, 14, 15, 20, 21, 22, 23));
  EXPECT_EQ(shard(deal, 0).size(), 1u);
  EXPECT_THAT(shard({Layout::kBlockCyclic, 5, 2, 2, 4}, 0), IsEmpty());
}

TEST(ShardLayout, ZigzagPairsAnEarlyPieceWithALateOne) {
  const auto dealt = shards({Layout::kZigzag, 0, 32, 4});
  EXPECT_THAT(dealt[0], ElementsAre(0, 1, 2, 3, 28, 29, 30, 31));
  EXPECT_THAT(dealt[1], ElementsAre(4, 5, 6, 7, 24, 25, 26, 27));
  EXPECT_THAT(dealt[2], ElementsAre(8, 9, 10, 11, 20, 21, 22, 23));
  EXPECT_THAT(dealt[3], ElementsAre(12, 13, 14, 15, 16, 17, 18, 19));
}

TEST(ShardLayout, PackedSequencesAreCutOneByOne) {
  EXPECT_THAT(positions(shard({Layout::kZigzag, 0, 8, 4}, 0)), ElementsAre(0, 7));
  EXPECT_THAT(positions(shard({Layout::kZigzag, 0, 16, 4}, 0)), ElementsAre(0, 1, 14, 15));
}

/// Ulysses inside, a ring outside: what the ranks of an inner group compute together is one run.
TEST(ShardLayout, InnerGroupsTogetherAreTheCyclicDealOfLargerBlocks) {
  for (const auto& [inner, outer, block] : {std::array{2, 3, 2}, {4, 2, 1}, {2, 2, 4}}) {
    for (std::int64_t first : {0, 1, 16, 21}) {
      for (std::int64_t count : {0, 1, 7, 48, 61}) {
        const auto dealt = shards({Layout::kBlockCyclic, first, count, inner * outer, block});
        const auto joined = shards({Layout::kBlockCyclic, first, count, outer, inner * block});
        for (int k = 0; k < outer; ++k) {
          std::vector<std::int64_t> together;
          for (int u = 0; u < inner; ++u) {
            const auto& part = dealt[k * inner + u];
            together.insert(together.end(), part.begin(), part.end());
          }
          std::ranges::sort(together);
          EXPECT_EQ(together, joined[k]) << inner << " x " << outer << ", block " << block;
        }
      }
    }
  }
}

/// Of packed sequences: the first cuts evenly into 16 pieces, the second does not.
TEST(ShardLayout, RaggedSequencesOfABatchAreCutOneByOne) {
  const auto sizes = [](std::int64_t tokens) {
    std::vector<std::int64_t> all;
    for (int rank = 0; rank < 8; ++rank) {
      all.push_back(token_count(shard({Layout::kZigzag, 0, tokens, 8}, rank)));
    }
    return all;
  };
  EXPECT_THAT(sizes(128), Each(16));
  EXPECT_THAT(sizes(1248 - 128), Each(140));
  EXPECT_THAT(sizes(4240 - 1248), Each(374));
  EXPECT_THAT(sizes(120), Each(15));
  EXPECT_THAT(sizes(1248 - 120), Each(141));
  EXPECT_THAT(sizes(4232 - 1248), Each(373));
}

TEST(ShardLayout, FloorPiecesDifferByAtMostOneToken) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (std::int64_t count = 1; count <= 8 * ranks + 3; ++count) {
      std::set<std::int64_t> sizes;
      for (int rank = 0; rank < ranks; ++rank) {
        std::int64_t tokens = token_count(shard({Layout::kContiguous, 9, count, ranks}, rank));
        sizes.insert(tokens);
      }
      ASSERT_LE(*sizes.rbegin() - *sizes.begin(), 1) << ranks << " ranks " << count << " tokens";
    }
  }
}

TEST(ShardLayout, PiecesOfZigzagDifferByAtMostOneTokenToo) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (std::int64_t count = 1; count <= 8 * ranks + 3; ++count) {
      std::multiset<std::int64_t> pieces;
      for (int rank = 0; rank < ranks; ++rank) {
        for (const PositionRun& run : shard({Layout::kZigzag, 9, count, ranks}, rank)) {
          pieces.insert(run.count);
        }
      }
      const std::int64_t fewest = std::ssize(pieces) < 2 * ranks ? 0 : *pieces.begin();
      ASSERT_LE(*pieces.rbegin() - fewest, 1) << ranks << " ranks " << count << " tokens";
    }
  }
}

/// Causal score pairs of one rank's rows with another's keys.
std::int64_t pairs(const std::vector<std::int64_t>& rows, std::vector<std::int64_t> keys) {
  std::ranges::sort(keys);
  std::int64_t total = 0;
  for (std::int64_t row : rows) {
    total += std::ranges::upper_bound(keys, row) - keys.begin();
  }
  return total;
}

struct Work {
  double mean;
  std::int64_t stepped;   // sum over ring steps of the slowest rank
  std::int64_t max_rank;  // total of the slowest rank
};

Work causal_work(const Deal& deal, std::int64_t cached = 0) {
  const auto dealt = shards(deal);
  Work work{0, 0, 0};
  std::vector<std::int64_t> totals(deal.ranks);
  for (int step = 0; step < deal.ranks; ++step) {
    std::int64_t slowest = 0;
    for (int rank = 0; rank < deal.ranks; ++rank) {
      const int source = (rank + deal.ranks - step) % deal.ranks;
      const std::int64_t scored = pairs(dealt[rank], dealt[source]);
      slowest = std::max(slowest, scored);
      totals[rank] += scored;
    }
    work.stepped += slowest;
  }
  for (int rank = 0; rank < deal.ranks; ++rank) {
    totals[rank] += cached * static_cast<std::int64_t>(dealt[rank].size());
    work.mean += static_cast<double>(totals[rank]) / deal.ranks;
  }
  work.max_rank = *std::ranges::max_element(totals);
  return work;
}

struct Balance {
  int ranks;
  std::int64_t tokens;
  double mean;
  std::int64_t contiguous[2], striped[2], cyclic2[2], cyclic4[2], zigzag[2],
      folded2[2];  // stepped, max-rank
};

TEST(ShardLayout, BalanceIsTheCountedTable) {
  const Balance table[] = {
      {4, 32, 132, {228, 228}, {144, 144}, {156, 156}, {180, 180}, {132, 132}, {132, 132}},
      {4, 31, 124, {220, 220}, {136, 136}, {148, 140}, {172, 148}, {132, 124}, {132, 132}},
      {3, 31, 165.33, {286, 286}, {176, 176}, {186, 175}, {210, 190}, {186, 186}, {190, 190}},
      {5, 31, 99.2, {196, 196}, {112, 112}, {124, 117}, {156, 132}, {124, 124}, {132, 132}},
      {8,
       128,
       1032,
       {1928, 1928},
       {1088, 1088},
       {1144, 1144},
       {1256, 1256},
       {1032, 1032},
       {1032, 1032}},
      {7, 100, 721.43, {1395, 1395}, {765, 765}, {808, 808}, {904, 904}, {800, 800}, {904, 904}},
      {3, 7, 9.33, {18, 18}, {12, 12}, {14, 11}, {22, 18}, {14, 14}, {18, 18}},
      {5, 3, 1.2, {4, 3}, {3, 3}, {5, 3}, {6, 6}, {5, 3}, {5, 3}},
  };
  for (const Balance& row : table) {
    const auto expect = [&](Layout layout, std::int64_t block, const std::int64_t(&golden)[2]) {
      const Deal deal{layout, 0, row.tokens, row.ranks, block};
      const Work work = causal_work(deal);
      EXPECT_NEAR(work.mean, row.mean, 0.005) << text(deal);
      EXPECT_EQ(work.stepped, golden[0]) << text(deal);
      EXPECT_EQ(work.max_rank, golden[1]) << text(deal);
    };
    expect(Layout::kContiguous, 1, row.contiguous);
    expect(Layout::kStriped, 1, row.striped);
    expect(Layout::kBlockCyclic, 2, row.cyclic2);
    expect(Layout::kBlockCyclic, 4, row.cyclic4);
    expect(Layout::kZigzag, 1, row.zigzag);
    expect(Layout::kFolded, 2, row.folded2);
  }
}

TEST(ShardLayout, BalanceFollowsItsFormulas) {
  for (std::int64_t ranks : {2, 3, 4, 8}) {
    for (std::int64_t block : {1, 2, 4, 8}) {
      const std::int64_t tokens = 4 * ranks * block;
      const std::int64_t s = tokens / ranks;
      const int n = static_cast<int>(ranks);
      const std::int64_t own = s * (s + 1) / 2;
      EXPECT_EQ(causal_work({Layout::kContiguous, 0, tokens, n}).stepped,
                own + (ranks - 1) * s * s);
      EXPECT_EQ(causal_work({Layout::kBlockCyclic, 0, tokens, n, block}).stepped,
                own + (ranks - 1) * s * (s + block) / 2);
      for (const Work& even : {causal_work({Layout::kZigzag, 0, tokens, n}),
                               causal_work({Layout::kFolded, 0, tokens, n, block})}) {
        EXPECT_EQ(even.stepped, own + (ranks - 1) * s * s / 2);
        EXPECT_DOUBLE_EQ(static_cast<double>(even.stepped), even.mean);
      }
      const Work striped = causal_work({Layout::kStriped, 0, tokens, n});
      EXPECT_DOUBLE_EQ(static_cast<double>(striped.stepped) / striped.mean,
                       1 + (n - 1.0) / (static_cast<double>(tokens) + 1));
    }
  }
}

TEST(ShardLayout, ContiguousPiecesApproachTwiceTheMean) {
  for (int ranks : {2, 4, 8}) {
    const Work work = causal_work({Layout::kContiguous, 0, 1024LL * ranks, ranks});
    EXPECT_NEAR(static_cast<double>(work.stepped) / work.mean, 2 - 1.0 / ranks, 1e-3) << ranks;
  }
}

/// Tiles of `tile` rows x `tile` keys in which some row sees some key, over all steps of a rank.
std::int64_t tiles_seen(const Deal& deal, int rank, std::int64_t tile) {
  const auto dealt = shards(deal);
  const auto rows = [&] {
    auto sorted = dealt[rank];
    std::ranges::sort(sorted);
    return sorted;
  }();
  std::int64_t seen = 0;
  for (auto keys : dealt) {
    std::ranges::sort(keys);
    for (std::int64_t row = 0; row < std::ssize(rows); row += tile) {
      const std::int64_t last = rows[std::min(row + tile, std::ssize(rows)) - 1];
      for (std::int64_t key = 0; key < std::ssize(keys); key += tile) seen += keys[key] <= last;
    }
  }
  return seen;
}

/// What a GPU pays: on every rank striped costs what block-cyclic costs its slowest.
TEST(ShardLayout, TilesFollowTheirFormulas) {
  constexpr std::int64_t kTile = 4;
  for (std::int64_t n : {2, 3, 4}) {
    for (std::int64_t k : {2, 4, 6}) {  // tiles of a rank
      const int ranks = static_cast<int>(n);
      const std::int64_t tokens = n * k * kTile;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto seen = [&](Layout layout) {
          return tiles_seen({layout, 0, tokens, ranks, kTile}, rank, kTile);
        };
        EXPECT_EQ(seen(Layout::kBlockCyclic), n * k * (k - 1) / 2 + (rank + 1) * k);
        EXPECT_EQ(seen(Layout::kStriped), n * k * (k + 1) / 2);
        EXPECT_EQ(seen(Layout::kZigzag), (n * k * k + k) / 2);
        EXPECT_EQ(seen(Layout::kFolded), (n * k * k + k) / 2);
      }
    }
  }
}

TEST(ShardLayout, CachedTokensDiluteTheImbalance) {
  const Work work = causal_work({Layout::kBlockCyclic, 0, 32, 4, 4}, 100);
  EXPECT_EQ(work.max_rank, 980);
  EXPECT_DOUBLE_EQ(work.mean, 932);
}

TEST(ShardLayout, NamesParseBack) {
  for (Layout layout : kLayouts) EXPECT_EQ(parse_layout(name(layout)), layout);
  EXPECT_EQ(parse_layout("ring"), std::nullopt);
  EXPECT_EQ(parse_layout(""), std::nullopt);
}

TEST(ShardLayout, ADealThatMakesNoSenseIsTheCallersMistake) {
  EXPECT_THROW(shard({Layout::kStriped, 0, 4, 2}, 2), std::logic_error);
  EXPECT_THROW(shard({Layout::kStriped, 0, 4, 0}, 0), std::logic_error);
  EXPECT_THROW(shard({Layout::kBlockCyclic, 0, 4, 2, 0}, 0), std::logic_error);
  EXPECT_THROW(shard({Layout::kContiguous, -1, 4, 2}, 0), std::logic_error);
}

}  // namespace
}  // namespace longspan

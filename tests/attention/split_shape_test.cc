#include "attention/split_shape.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <stdexcept>

#include "tests/attention/pattern.h"

namespace longspan {
namespace {

constexpr std::array kLayouts{Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                              Layout::kContiguous, Layout::kFolded};

std::vector<std::int64_t> positions(const std::vector<PositionRun>& runs) {
  std::vector<std::int64_t> all;
  for (const PositionRun& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) all.push_back(run.position(i));
  }
  return all;
}

std::int64_t counted_pairs(const std::vector<PositionRun>& queries,
                           const std::vector<PositionRun>& keys) {
  std::int64_t pairs = 0;
  for (std::int64_t query : positions(queries)) {
    for (std::int64_t key : positions(keys)) pairs += key <= query ? 1 : 0;
  }
  return pairs;
}

TEST(SplitShapeTest, PairsAreThoseCountedOneByOne) {
  std::mt19937 random(3);
  const auto draw = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  for (int round = 0; round < 600; ++round) {
    const Deal deal{.layout = kLayouts[draw(0, 4)],
                    .first = draw(0, 2) == 0 ? 0 : draw(0, 60),
                    .count = draw(1, 90),
                    .ranks = draw(1, 6),
                    .block = draw(1, 9)};
    const SplitShape shape = split_shape(deal, std::vector<std::int64_t>(deal.ranks, 5));
    std::int64_t total = 0;
    for (int r = 0; r < deal.ranks; ++r) {
      EXPECT_EQ(shape.rows[r], token_count(shard(deal, r)));
      for (int j = 0; j < deal.ranks; ++j) {
        EXPECT_EQ(shape.masked_pairs(r, j), counted_pairs(shard(deal, r), shard(deal, j)))
            << name(deal.layout) << " first " << deal.first << " count " << deal.count << " ranks "
            << deal.ranks << " block " << deal.block << ": " << r << " sees " << j;
        EXPECT_EQ(shape.full_pairs(r, j), shape.rows[r] * 5);
        total += shape.masked_pairs(r, j);
      }
    }
    EXPECT_EQ(total, deal.count * (deal.count + 1) / 2);
    EXPECT_EQ(shape.new_tokens(), deal.count);
    EXPECT_EQ(shape.columns(), deal.count + 5 * deal.ranks);
  }
}

std::vector<std::int64_t> owned_positions(const SequenceStorage& storage, int rank,
                                          std::int64_t length) {
  std::vector<std::int64_t> all;
  for (std::int64_t position = 0; position < length; ++position) {
    if (storage.owners[position / storage.page_tokens] == rank) all.push_back(position);
  }
  return all;
}

/// Windows over cached pages of any rank and over new rows; full masks.
TEST(SplitShapeTest, PairsUnderAnyMaskAreThoseCountedOneByOne) {
  std::mt19937 random(4);
  const auto draw = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  for (int round = 0; round < 600; ++round) {
    const Deal deal{.layout = kLayouts[draw(0, 4)],
                    .first = draw(0, 2) == 0 ? 0 : draw(0, 90),
                    .count = draw(1, 90),
                    .ranks = draw(1, 6),
                    .block = draw(1, 9)};
    const std::int64_t window = draw(1, draw(0, 1) == 0 ? 8 : 200);
    const std::int64_t anchor = draw(0, 60);
    const test::Pattern pattern = round % 6 == 0   ? Mask::full()
                                  : round % 6 == 1 ? Mask::causal()
                                  : round % 6 == 2 ? Mask::window(window)
                                  : round % 6 == 3
                                      ? test::sinks(anchor, window)
                                      : test::blocks({anchor, draw(1, 40), draw(0, 180)});
    SequenceStorage storage{.page_tokens = draw(1, 9), .owners = {}, .slots = {}};
    for (std::int64_t page = 0; page * storage.page_tokens < deal.first; ++page) {
      storage.owners.push_back(draw(0, deal.ranks - 1));
    }
    const SplitShape shape = split_shape(deal, storage, pattern.mask);
    for (int r = 0; r < deal.ranks; ++r) {
      for (int j = 0; j < deal.ranks; ++j) {
        std::vector<std::int64_t> keys = owned_positions(storage, j, deal.first);
        for (std::int64_t key : positions(shard(deal, j))) keys.push_back(key);
        std::int64_t pairs = 0;
        for (std::int64_t query : positions(shard(deal, r))) {
          for (std::int64_t key : keys) pairs += pattern.sees(query, key) ? 1 : 0;
        }
        EXPECT_EQ(shape.full_pairs(r, j) + shape.masked_pairs(r, j), pairs)
            << name(deal.layout) << " first " << deal.first << " count " << deal.count << " ranks "
            << deal.ranks << " block " << deal.block << ", " << pattern.name << ", round " << round;
      }
    }
  }
}

/// Once as many keys are cached as a window holds, every row sees exactly a window of them: work is
/// as even as rows are, whatever the layout. Without a cache only the first rows see fewer.
TEST(SplitShapeTest, UnderAWindowLayoutsAreAsEvenAsTheirRows) {
  constexpr std::int64_t kWindow = 40;
  for (Layout layout : kLayouts) {
    for (std::int64_t cached : {39, 40, 200}) {
      const Deal deal{.layout = layout, .first = cached, .count = 333, .ranks = 4, .block = 8};
      const SplitShape shape = split_shape(deal, 8, Mask::window(kWindow));
      for (int r = 0; r < 4; ++r) {
        std::int64_t pairs = 0;
        for (int j = 0; j < 4; ++j) pairs += shape.masked_pairs(r, j);
        EXPECT_EQ(pairs, shape.rows[r] * kWindow) << name(layout) << ", rank " << r;
      }
    }
  }
}

/// Contiguous pieces see their own keys and the piece before, if a window is no longer than a
/// piece.
TEST(SplitShapeTest, AContiguousPieceSeesOnlyItsNeighbourThroughAShortWindow) {
  const Deal deal{.layout = Layout::kContiguous, .count = 400, .ranks = 5};
  const SplitShape shape = split_shape(deal, 8, Mask::window(80));
  for (int r = 0; r < 5; ++r) {
    for (int j = 0; j < 5; ++j) {
      EXPECT_EQ(shape.masked_pairs(r, j) > 0, j == r || j == r - 1) << r << " sees " << j;
    }
  }
}

TEST(SplitShapeTest, AMillionTokensUnderAWindowDoNotOverflow) {
  constexpr std::int64_t kTokens = 1 << 20, kWindow = 4096;
  const SplitShape shape = split_shape({.layout = Layout::kBlockCyclic,
                                        .first = kTokens,
                                        .count = kTokens,
                                        .ranks = 8,
                                        .block = 128},
                                       128, Mask::window(kWindow));
  std::int64_t total = 0;
  for (std::int64_t pairs : shape.masked) total += pairs;
  EXPECT_EQ(total, kTokens * kWindow);
  EXPECT_EQ(shape.columns(), kTokens + kWindow - 1);
}

TEST(SplitShapeTest, RunsOfUnequalBlocksAreCountedToo) {
  for (std::int64_t block = 1; block <= 4; ++block) {
    for (std::int64_t stride = block; stride <= 9; ++stride) {
      for (std::int64_t count = 0; count <= 13; ++count) {
        const PositionRun queries{.first = 4, .block = block, .stride = stride, .count = count};
        for (std::int64_t first : {0, 3, 11, 40}) {
          const PositionRun keys{.first = first, .block = 3, .stride = 5, .count = 10};
          EXPECT_EQ(causal_pairs(queries, keys), counted_pairs({queries}, {keys}));
          EXPECT_EQ(causal_pairs(keys, queries), counted_pairs({keys}, {queries}));
        }
      }
    }
  }
}

TEST(SplitShapeTest, AMillionTokensDoNotOverflow) {
  constexpr std::int64_t kTokens = 1 << 20;
  const SplitShape shape = split_shape(
      {.layout = Layout::kBlockCyclic, .first = 0, .count = kTokens, .ranks = 8, .block = 128},
      128);
  std::int64_t total = 0;
  for (std::int64_t pairs : shape.masked) total += pairs;
  EXPECT_EQ(total, kTokens * (kTokens + 1) / 2);
}

// Local lengths of interleaved storage, and one with a broken last page.
TEST(SplitShapeTest, SpreadColumnsFollowThePages) {
  const auto lengths = [](std::int64_t length, std::int64_t page_tokens, int ranks) {
    std::vector<std::int64_t> all;
    for (int r = 0; r < ranks; ++r) all.push_back(spread_columns(length, page_tokens, ranks, r));
    return all;
  };
  EXPECT_EQ(lengths(55, 8, 4), (std::vector<std::int64_t>{16, 16, 15, 8}));
  EXPECT_EQ(lengths(0, 8, 3), (std::vector<std::int64_t>{0, 0, 0}));
  EXPECT_EQ(lengths(5, 1, 3), (std::vector<std::int64_t>{2, 2, 1}));
  EXPECT_EQ(lengths(7, 16, 2), (std::vector<std::int64_t>{7, 0}));
}

/// Page p on rank p mod N: where a token lies, and back, by arithmetic alone.
TEST(SplitShapeTest, InterleavedStorageHoldsEveryTokenOnceInOrder) {
  for (int ranks = 1; ranks <= 9; ++ranks) {
    for (std::int64_t page : {1, 2, 4, 8}) {
      for (std::int64_t length = 0; length <= 4 * page * ranks; ++length) {
        SequenceStorage storage{.page_tokens = page, .owners = {}, .slots = {}};
        for (std::int64_t p = 0; p * page < length; ++p) {
          storage.owners.push_back(static_cast<int>(p % ranks));
        }
        std::int64_t total = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          const auto held = positions(owned_runs(storage, rank, {0, length}));
          total += std::ssize(held);
          ASSERT_EQ(std::ssize(held), spread_columns(length, page, ranks, rank));
          ASSERT_EQ(std::ssize(held), owned_columns(storage, rank, length));
          for (std::int64_t slot = 0; slot < std::ssize(held); ++slot) {
            const std::int64_t token = (slot / page * ranks + rank) * page + slot % page;
            ASSERT_EQ(held[slot], token) << length << " tokens, rank " << rank << " of " << ranks;
            ASSERT_EQ(token / page % ranks, rank);
            ASSERT_EQ(token / (page * ranks) * page + token % page, slot);
          }
        }
        ASSERT_EQ(total, length);
      }
    }
  }
}

TEST(SplitShapeTest, CachedColumnsCountForTheirOwners) {
  const Deal deal{.layout = Layout::kContiguous, .first = 37, .count = 5, .ranks = 3, .block = 8};
  const SplitShape shape = split_shape(deal, 8);
  EXPECT_EQ(shape.cached, (std::vector<std::int64_t>{16, 13, 8}));
  EXPECT_EQ(shape.rows, (std::vector<std::int64_t>{1, 2, 2}));
  EXPECT_EQ(shape.longest_stream(), 17);
  EXPECT_EQ(shape.most_rows(), 2);
}

TEST(SplitShapeTest, AnEvenSplitIsWhatBalancedLayoutsComeTo) {
  const SplitShape zigzag =
      split_shape({.layout = Layout::kZigzag, .first = 0, .count = 8192, .ranks = 4}, 1);
  const SplitShape even = even_split(8192, 0, 4);
  std::int64_t slowest = 0, per_rank = 0;
  for (int r = 0; r < 4; ++r) {
    std::int64_t pairs = 0;
    for (int j = 0; j < 4; ++j) pairs += zigzag.masked_pairs(r, j);
    slowest = std::max(slowest, pairs);
    per_rank += even.masked_pairs(0, r);
  }
  EXPECT_NEAR(static_cast<double>(slowest), static_cast<double>(per_rank), 4.0);
  EXPECT_EQ(even.rows, zigzag.rows);
}

TEST(SplitShapeTest, JoinedPartsHoldWhatTheirRanksHeld) {
  const Deal deal{.layout = Layout::kBlockCyclic, .first = 21, .count = 50, .ranks = 6, .block = 4};
  const SplitShape shape = split_shape(deal, 4);
  const SplitShape parts = joined(shape, 3);
  ASSERT_EQ(parts.size(), 2);
  EXPECT_EQ(parts.rows[1], shape.rows[3] + shape.rows[4] + shape.rows[5]);
  EXPECT_EQ(parts.columns(), shape.columns());
  std::int64_t pairs = 0;
  for (int r = 0; r < 3; ++r) {
    for (int j = 3; j < 6; ++j) pairs += shape.masked_pairs(r, j);
  }
  EXPECT_EQ(parts.masked_pairs(0, 1), pairs);
  EXPECT_THROW(joined(shape, 4), std::logic_error);
}

}  // namespace
}  // namespace longspan

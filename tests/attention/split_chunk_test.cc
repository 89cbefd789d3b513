#include "attention/split_chunk.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <stdexcept>

#include "tests/attention/pattern.h"

namespace longspan {
namespace {

constexpr std::array kLayouts{Layout::kBlockCyclic, Layout::kStriped, Layout::kZigzag,
                              Layout::kContiguous, Layout::kFolded};

SequenceStorage storage_for(int rank, std::int64_t page_tokens, std::vector<int> owners) {
  SequenceStorage storage{.page_tokens = page_tokens, .owners = std::move(owners), .slots = {}};
  for (int owner : storage.owners) {
    if (owner == rank) storage.slots.push_back(static_cast<std::int32_t>(storage.slots.size()));
  }
  return storage;
}

/// Position of column `column` of a rank's own pages.
std::int64_t position_of(const SequenceStorage& storage, int rank, std::int64_t column) {
  std::int64_t own = 0;
  for (std::size_t page = 0; page < storage.owners.size(); ++page) {
    if (storage.owners[page] != rank) continue;
    if (own++ == column / storage.page_tokens) {
      return static_cast<std::int64_t>(page) * storage.page_tokens + column % storage.page_tokens;
    }
  }
  return -1;
}

TEST(SplitChunkTest, EveryNewTokenIsKeptOnceByTheOwnerOfItsPage) {
  std::mt19937 random(7);
  const auto draw = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    const int ranks = draw(1, 8);
    const std::int64_t page_tokens = 1 << draw(0, 5);
    const std::int64_t block = std::min<std::int64_t>(page_tokens, 1 << draw(0, 5));
    const Deal deal{.layout = kLayouts[draw(0, 4)],
                    .first = draw(0, 3) == 0 ? 0 : draw(0, 100),
                    .count = draw(1, 130),
                    .ranks = ranks,
                    .block = block};
    std::vector<int> owners((deal.first + deal.count + page_tokens - 1) / page_tokens);
    for (int& owner : owners) owner = draw(0, ranks - 1);

    std::set<std::int64_t> kept;
    for (int rank = 0; rank < ranks; ++rank) {
      const SequenceStorage storage = storage_for(rank, page_tokens, owners);
      const Mask mask = round % 2 == 0 ? Mask::causal() : Mask::window(draw(1, 60));
      const SplitChunk chunk = make_split_chunk(deal, rank, storage, mask);
      for (int source = 0; source < ranks; ++source) {
        const StreamShape& stream = chunk.streams[source];
        std::map<std::int64_t, std::int64_t> position_in_stream;
        std::int64_t column = stream.cached;
        for (const PositionRun& run : stream.runs) {
          for (std::int64_t i = 0; i < run.count; ++i)
            position_in_stream[column++] = run.position(i);
        }
        for (const Keep& keep : chunk.keep[source]) {
          for (std::int64_t i = 0; i < keep.to.count; ++i) {
            const std::int64_t position = position_in_stream.at(keep.from_column + i);
            EXPECT_EQ(position_of(storage, rank, keep.to.position(i)), position);
            EXPECT_TRUE(kept.insert(position).second) << "kept twice: " << position;
          }
        }
      }
    }
    ASSERT_EQ(std::ssize(kept), deal.count);
    EXPECT_EQ(*kept.begin(), deal.first);
  }
}

TEST(SplitChunkTest, StreamsHoldTheCachedColumnsOfTheirOwner) {
  const Deal deal{.layout = Layout::kBlockCyclic, .first = 6, .count = 6, .ranks = 2, .block = 4};
  const SplitChunk chunk = make_split_chunk(deal, 1, storage_for(1, 4, {0, 1, 0}));
  EXPECT_EQ(chunk.streams[0].cached, 4);
  EXPECT_EQ(chunk.streams[1].cached, 2);  // the page is broken off at position 6
  EXPECT_EQ(chunk.streams[1].columns(), 2 + 2);
  EXPECT_EQ(chunk.positions, (std::vector<std::int64_t>{6, 7}));
}

/// Older columns are seen by no row, so they are in no stream; those that are have positions.
TEST(SplitChunkTest, StreamsHoldTheCachedColumnsThatSomeRowSeesAndNoOthers) {
  std::mt19937 random(8);
  const auto draw = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    const int ranks = draw(1, 5);
    const std::int64_t page_tokens = draw(1, 17);
    const Deal deal{.layout = kLayouts[draw(0, 4)],
                    .first = draw(0, 120),
                    .count = draw(1, 60),
                    .ranks = ranks,
                    .block = draw(1, 17)};
    const std::int64_t window = draw(1, draw(0, 1) == 0 ? 10 : 150);
    std::vector<int> owners((deal.first + deal.count + page_tokens - 1) / page_tokens);
    const bool cyclic = draw(0, 1) == 0;
    for (std::size_t page = 0; page < owners.size(); ++page) {
      owners[page] = cyclic ? static_cast<int>(page) % ranks : draw(0, ranks - 1);
    }
    const test::Pattern pattern = round % 3 == 0 ? test::Pattern(Mask::window(window))
                                  : round % 3 == 1
                                      ? test::sinks(draw(0, 60), window)
                                      : test::blocks({draw(0, 60), draw(1, 40), draw(0, 180)});
    std::set<std::int64_t> expected, seen;
    for (std::int64_t key = 0; key < deal.first; ++key) {
      for (std::int64_t query = deal.first; query < deal.first + deal.count; ++query) {
        if (pattern.sees(query, key)) expected.insert(key);
      }
    }
    for (int rank = 0; rank < ranks; ++rank) {
      const SequenceStorage storage = storage_for(rank, page_tokens, owners);
      const SplitChunk chunk = make_split_chunk(deal, rank, storage, pattern.mask);
      const StreamShape& own = chunk.own();
      EXPECT_LE(own.pieces.size(), 2u);
      std::int64_t cached = 0;
      for (const CachedPiece& piece : own.pieces) {
        std::int64_t column = piece.first;
        for (const PositionRun& run : piece.runs) {
          ASSERT_GT(run.count, 0);
          const std::int64_t inside = column % page_tokens;
          EXPECT_TRUE(inside == 0 || inside + run.count <= page_tokens)
              << "its view ends in a page";
          for (std::int64_t i = 0; i < run.count; ++i) {
            EXPECT_EQ(run.position(i), position_of(storage, rank, column++));
            EXPECT_TRUE(seen.insert(run.position(i)).second);
          }
        }
        EXPECT_EQ(column, piece.first + piece.count);
        cached += piece.count;
        if (cyclic) {
          EXPECT_LE(piece.runs.size(), 2u);  // a broken page, and the others
        }
      }
      EXPECT_EQ(cached, own.cached);
    }
    EXPECT_EQ(seen, expected) << pattern.name;
  }
}

TEST(SplitChunkTest, ARankThatKeepsNothingNeedsNoPages) {
  const Deal deal{.layout = Layout::kStriped, .first = 0, .count = 20, .ranks = 4};
  const SplitChunk chunk = make_split_chunk(deal, 3, storage_for(3, 16, {0, 0}));
  for (const auto& keep : chunk.keep) EXPECT_TRUE(keep.empty());
  EXPECT_EQ(chunk.own().rows, 5);
}

TEST(SplitChunkTest, PagesThatEndBeforeTheChunkAreTheCallersMistake) {
  const Deal deal{.first = 0, .count = 17, .ranks = 1, .block = 16};
  EXPECT_THROW(make_split_chunk(deal, 0, storage_for(0, 16, {0})), std::logic_error);
}

}  // namespace
}  // namespace longspan

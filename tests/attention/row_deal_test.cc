#include "attention/row_deal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/str.h"

namespace longspan {
namespace {

constexpr HeadShape kShape{.query_heads = 6, .kv_heads = 2, .head_dim = 16};

/// A choice with what block_chooser.h promises: the first block and the own one are in it.
struct RandomChoice {
  std::vector<std::uint8_t> chosen;
  KeyChoice choice;

  RandomChoice(std::int64_t tokens, std::int64_t block, unsigned seed) {
    const std::int64_t blocks = (tokens + block - 1) / block;
    choice = {.query_unit = block, .key_unit = block, .query_units = blocks, .key_units = blocks};
    chosen.resize(kShape.kv_heads * blocks * blocks);
    choice.chosen = chosen.data();
    std::mt19937 random(seed);
    for (int head = 0; head < kShape.kv_heads; ++head) {
      for (std::int64_t query = 0; query < blocks; ++query) {
        std::uint8_t* row = chosen.data() + (head * blocks + query) * blocks;
        for (std::int64_t key = 0; key <= query; ++key) {
          row[key] = key == 0 || key == query || random() % 3 == 0;
        }
      }
    }
  }

  std::int64_t pairs_one_by_one(std::int64_t query) const {
    std::int64_t pairs = 0;
    for (int head = 0; head < kShape.query_heads; ++head) {
      const std::uint8_t* row = choice.of(head / 3, query / choice.query_unit);
      for (std::int64_t key = 0; key <= query; ++key) pairs += row[key / choice.key_unit];
    }
    return pairs;
  }
};

TEST(RowDealTest, PairsAreThoseCountedOneByOne) {
  for (std::int64_t block : {1, 4, 7, 100}) {
    for (std::int64_t tokens : {1, 7, 8, 40, 41}) {
      const RandomChoice random(tokens, block, 5);
      const std::vector<std::int64_t> blocks = block_pairs(random.choice, kShape, tokens);
      std::vector<std::int64_t> expected(blocks.size());
      for (std::int64_t position = 0; position < tokens; ++position) {
        const std::int64_t pairs = random.pairs_one_by_one(position);
        EXPECT_EQ(chosen_pairs(random.choice, kShape, position), pairs);
        expected[position / block] += pairs;
      }
      EXPECT_EQ(blocks, expected) << str("{} tokens in blocks of {}", tokens, block);
    }
  }
}

TEST(RowDealTest, EveryBlockHasARankWithRoom) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 7);
    const auto block = static_cast<std::int64_t>(1 + random() % 9);
    const auto tokens = static_cast<std::int64_t>(1 + random() % 200);
    std::vector<std::int64_t> pairs((tokens + block - 1) / block);
    for (auto& one : pairs) one = static_cast<std::int64_t>(random() % 1000);
    const std::int64_t most = (tokens + ranks - 1) / ranks + block;
    const auto rank_of = deal_blocks(
        {.pairs = pairs, .block = block, .tokens = tokens, .ranks = ranks, .most_rows = most});
    std::vector<std::int64_t> rows(ranks);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      rows.at(rank_of[i]) += std::min(block, tokens - static_cast<std::int64_t>(i) * block);
    }
    EXPECT_LE(*std::ranges::max_element(rows), most);
    EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), tokens);
  }
}

/// Graham's bound, against the least that any deal can reach.
TEST(RowDealTest, NoRankHasMuchMoreThanTheBestDealWouldGiveIt) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 7);
    std::vector<std::int64_t> pairs(1 + random() % 60);
    for (auto& one : pairs) one = static_cast<std::int64_t>(random() % 1000);
    const auto blocks = std::ssize(pairs);
    const auto rank_of =
        deal_blocks({.pairs = pairs, .tokens = blocks, .ranks = ranks, .most_rows = blocks});
    std::vector<std::int64_t> of_rank(ranks);
    for (std::size_t i = 0; i < pairs.size(); ++i) of_rank[rank_of[i]] += pairs[i];
    const std::int64_t total = std::accumulate(pairs.begin(), pairs.end(), std::int64_t{0});
    std::vector<std::int64_t> sorted = pairs;
    std::ranges::sort(sorted, std::greater());
    const std::int64_t two = blocks > ranks ? sorted[ranks - 1] + sorted[ranks] : 0;
    const std::int64_t least = std::max({(total + ranks - 1) / ranks, sorted.front(), two});
    EXPECT_LE(3 * ranks * *std::ranges::max_element(of_rank), (4 * ranks - 1) * least + 3 * ranks);
  }
}

TEST(RowDealTest, ImbalanceIsTheFullestOverTheMean) {
  EXPECT_EQ(imbalance(std::vector<std::int64_t>{3, 3, 3}), 1);
  EXPECT_EQ(imbalance(std::vector<std::int64_t>{6, 3, 0}), 2);
  EXPECT_EQ(imbalance(std::vector<std::int64_t>{0, 0}), 1);
}

}  // namespace
}  // namespace longspan

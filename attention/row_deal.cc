#include "attention/row_deal.h"

#include <algorithm>
#include <numeric>

#include "comm/error.h"

namespace longspan {

std::int64_t chosen_pairs(const KeyChoice& choice, const HeadShape& shape, std::int64_t position) {
  const std::int64_t own = position / choice.query_unit;
  std::int64_t pairs = 0;
  for (int head = 0; head < shape.kv_heads; ++head) {
    const std::uint8_t* chosen = choice.of(head, own);
    const auto before = std::count(chosen, chosen + own, std::uint8_t{1});
    const std::int64_t keys = before * choice.key_unit + position % choice.query_unit + 1;
    pairs += keys * shape.readers(head).count;
  }
  return pairs;
}

std::vector<std::int64_t> block_pairs(const KeyChoice& choice, const HeadShape& shape,
                                      std::int64_t tokens) {
  std::vector<std::int64_t> pairs(choice.query_units);
  for (std::int64_t block = 0; block < choice.query_units; ++block) {
    const std::int64_t first = block * choice.query_unit;
    const std::int64_t rows = std::min(choice.query_unit, tokens - first);
    // Row by row a block's pairs grow by one key a head.
    pairs[block] =
        rows * chosen_pairs(choice, shape, first) + rows * (rows - 1) / 2 * shape.query_heads;
  }
  return pairs;
}

std::vector<int> deal_blocks(const BlockDeal& deal) {
  const std::int64_t blocks = std::ssize(deal.pairs);
  std::vector<std::int64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](std::int64_t i) { return deal.pairs[i]; });
  std::vector<std::int64_t> pairs(deal.ranks), rows(deal.ranks);
  std::vector<int> rank_of(blocks);
  for (std::int64_t block : order) {
    const std::int64_t size = std::min(deal.block, deal.tokens - block * deal.block);
    int best = -1;
    for (int rank = 0; rank < deal.ranks; ++rank) {
      if (rows[rank] + size > deal.most_rows) continue;
      if (best < 0 || pairs[rank] < pairs[best]) best = rank;
    }
    expects(best >= 0, "some rank has room for a block");
    rank_of[block] = best;
    pairs[best] += deal.pairs[block];
    rows[best] += size;
  }
  return rank_of;
}

double imbalance(std::span<const std::int64_t> pairs_by_rank) {
  const std::int64_t total =
      std::accumulate(pairs_by_rank.begin(), pairs_by_rank.end(), std::int64_t{0});
  if (total == 0) return 1;
  return static_cast<double>(*std::ranges::max_element(pairs_by_rank)) *
         static_cast<double>(pairs_by_rank.size()) / static_cast<double>(total);
}

}  // namespace longspan

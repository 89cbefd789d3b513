#include "attention/cpu/choose_blocks.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "attention/block_sums.h"
#include "attention/cpu/parallel.h"

namespace longspan {
namespace {

/// The means that stand for blocks, and the scores between them.
class BlockScores {
 public:
  explicit BlockScores(const ChooseBlocks& work)
      : work_(work), scale_(1.0 / std::sqrt(static_cast<double>(work.shape.head_dim))) {}

  /// Adds to `shares`, of key blocks 0 to `query_block`, the softmax of one head's scores.
  void add_softmax(int head, int kv_head, std::int64_t query_block, double weight,
                   std::vector<double>& shares) const {
    std::vector<double> scores(query_block + 1);
    const double* q = sum(query_block, head);
    for (std::int64_t key_block = 0; key_block <= query_block; ++key_block) {
      const double* k = sum(key_block, work_.shape.query_heads + kv_head);
      const double dot = std::inner_product(q, q + work_.shape.head_dim, k, 0.0);
      scores[key_block] = dot * scale_ / (rows(query_block) * rows(key_block));
    }
    const double most = *std::ranges::max_element(scores);
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - most);
    for (std::size_t i = 0; i < scores.size(); ++i) shares[i] += weight * scores[i] / total;
  }

 private:
  const double* sum(std::int64_t block, int head) const {
    const int heads = work_.shape.query_heads + work_.shape.kv_heads;
    return work_.sums + (block * heads + head) * work_.shape.head_dim;
  }
  double rows(std::int64_t block) const {
    return static_cast<double>(std::min(work_.block, work_.tokens - block * work_.block));
  }

  const ChooseBlocks& work_;
  double scale_;
};

/// Marks the first and the last block, then others by falling share until all have `mass`. Of equal
/// shares the earlier block goes first. All of the mass are all blocks, however sums are rounded.
void mark(const std::vector<double>& shares, double mass, std::uint8_t* chosen) {
  std::vector<std::int64_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](std::int64_t i) { return shares[i]; });
  const auto own = static_cast<std::int64_t>(shares.size()) - 1;
  chosen[0] = chosen[own] = 1;
  double held = shares[0] + (own > 0 ? shares[own] : 0);
  for (std::int64_t block : order) {
    if (held >= mass && mass < 1) return;
    if (chosen[block]) continue;
    chosen[block] = 1;
    held += shares[block];
  }
}

}  // namespace

void pool_blocks(const PoolBlocks& work) {
  const int dim = work.shape.head_dim, query_heads = work.shape.query_heads;
  const int heads = query_heads + work.shape.kv_heads;
  std::fill_n(work.sums, std::ssize(work.blocks) * heads * dim, 0.0);
  for (std::int64_t row = 0; row < std::ssize(work.positions); ++row) {
    const std::int64_t block = work.positions[row] / work.block;
    const auto at = std::ranges::lower_bound(work.blocks, block) - work.blocks.begin();
    double* sums = work.sums + at * heads * dim;
    const float* q = work.q + row * query_heads * dim;
    for (int i = 0; i < query_heads * dim; ++i) sums[i] += q[i];
    for (int head = 0; head < work.shape.kv_heads; ++head) {
      const float* k = work.keys.keys() + work.keys.offset(row, head, dim);
      for (int d = 0; d < dim; ++d) sums[(query_heads + head) * dim + d] += k[d];
    }
  }
}

void choose_blocks(const ChooseBlocks& work) {
  const std::int64_t blocks = blocks_in(work.tokens, work.block);
  std::fill_n(work.chosen, work.shape.kv_heads * blocks * blocks, std::uint8_t{0});
  const BlockScores scores(work);
  parallel_for(work.shape.kv_heads * blocks, available_threads(), [&](std::int64_t task, int) {
    const int kv_head = static_cast<int>(task / blocks);
    const std::int64_t query_block = blocks - 1 - task % blocks;  // late ones are most work
    const HeadRange readers = work.shape.readers(kv_head);
    std::vector<double> shares(query_block + 1);
    for (int head = readers.first; head < readers.first + readers.count; ++head) {
      scores.add_softmax(head, kv_head, query_block, 1.0 / readers.count, shares);
    }
    mark(shares, work.mass, work.chosen + (kv_head * blocks + query_block) * blocks);
  });
}

}  // namespace longspan

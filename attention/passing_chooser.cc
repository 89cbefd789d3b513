#include "attention/passing_chooser.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>

#include "attention/block_sums.h"
#include "attention/tell_all.h"
#include "comm/error.h"

namespace longspan {
namespace {

/// Sums of every rank, their total, and a score of every key.
std::int64_t most_values(const HeadShape& shape, std::int64_t block, const PrefillLimits& limits) {
  const std::int64_t blocks = blocks_in(limits.all_rows, block);
  const std::int64_t sums = limits.ranks * std::min(blocks, limits.rows) + blocks;
  return shape.kv_heads * (sums * shape.head_dim + limits.all_rows);
}

}  // namespace

PassingChooser::PassingChooser(Device& device, const HeadShape& shape,
                               const Approximation& approximation, const PrefillLimits& limits)
    : shape_(shape),
      sizes_(approximation),
      values_(device.allocate(sizeof(double) * most_values(shape, sizes_.block_tokens, limits))),
      chosen_(device.allocate(shape.kv_heads * limits.all_rows)) {}

std::size_t PassingChooser::memory_bytes(const HeadShape& shape, const Approximation& approximation,
                                         const PrefillLimits& limits) {
  return sizeof(double) * most_values(shape, approximation.block_tokens, limits) +
         shape.kv_heads * limits.all_rows;
}

KeyChoice PassingChooser::choice(std::int64_t tokens) const {
  return {.query_unit = std::numeric_limits<std::int64_t>::max(),  // the same for all rows
          .key_unit = 1,
          .query_units = 1,
          .key_units = tokens,
          .chosen = chosen_.as<std::uint8_t>().data()};
}

bool PassingChooser::is_observed(std::int64_t position) const {
  return position % sizes_.block_tokens >= sizes_.block_tokens - sizes_.observed_tokens;
}

PassingChooser::Plan PassingChooser::lay_out(const SplitChunk& chunk) const {
  std::span<double> left = values_.as<double>();
  const auto take = [&](std::int64_t values) {
    expects(values <= std::ssize(left), "the prompt fits the memory planned for it");
    const std::span<double> area = left.first(values);
    left = left.subspan(values);
    return area;
  };
  Plan plan;
  for (const StreamShape& stream : chunk.streams) {
    Said said{.positions = stream.positions(), .blocks = {}, .sums = {}, .scores = {}};
    std::vector<std::int64_t> observed;
    std::ranges::copy_if(said.positions, std::back_inserter(observed),
                         [&](std::int64_t position) { return is_observed(position); });
    said.blocks = blocks_of(observed, sizes_.block_tokens);
    said.sums = take(std::ssize(said.blocks) * width());
    said.scores = take(stream.rows * shape_.kv_heads);
    plan.said.push_back(std::move(said));
  }
  plan.total = take(blocks_in(chunk.all_rows(), sizes_.block_tokens) * width());
  return plan;
}

void PassingChooser::choose(Stream& compute, const Group& group, const SplitChunk& chunk,
                            const ChunkRows& rows) {
  expects(chunk.all_columns() == chunk.all_rows(), "the chunk is a whole prompt");
  // Shared by the calls enqueued here, which outlive this one.
  const auto plan = std::make_shared<const Plan>(lay_out(chunk));
  std::vector<std::span<double>> sums, scores;
  for (const Said& said : plan->said) {
    sums.push_back(said.sums);
    scores.push_back(said.scores);
  }
  compute.call([=, this, rank = chunk.rank] { sum_queries(plan->said[rank], rows); });
  tell_all(compute, group, sums);
  compute.call([=, this, rank = chunk.rank] { score_keys(*plan, rank, rows); });
  tell_all(compute, group, scores);
  compute.call([=, this, tokens = chunk.all_rows()] { choose_best(*plan, tokens); });
}

void PassingChooser::sum_queries(const Said& own, const ChunkRows& rows) const {
  const int dim = shape_.head_dim;
  std::ranges::fill(own.sums, 0.0);
  for (std::size_t row = 0; row < own.positions.size(); ++row) {
    if (!is_observed(own.positions[row])) continue;
    const std::int64_t block = own.positions[row] / sizes_.block_tokens;
    const auto at = std::ranges::lower_bound(own.blocks, block) - own.blocks.begin();
    for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      const HeadRange readers = shape_.readers(kv_head);
      double* sum = own.sums.data() + at * width() + kv_head * dim;
      const float* q = rows.q + (row * shape_.query_heads + readers.first) * dim;
      for (int i = 0; i < readers.count * dim; ++i) sum[i % dim] += q[i];
    }
  }
}

/// Adds the ranks' sums in their order, and scores own keys with them.
void PassingChooser::score_keys(const Plan& plan, int rank, const ChunkRows& rows) const {
  const int dim = shape_.head_dim;
  std::ranges::fill(plan.total, 0.0);
  for (const Said& said : plan.said) {
    add_block_sums(said.blocks, said.sums.data(), width(), plan.total.data());
  }
  const Said& own = plan.said[rank];
  for (std::size_t row = 0; row < own.positions.size(); ++row) {
    const double* sums = plan.total.data() + own.positions[row] / sizes_.block_tokens * width();
    for (int head = 0; head < shape_.kv_heads; ++head) {
      const auto column = static_cast<std::int64_t>(row);
      const float* k = rows.keys.keys() + rows.keys.offset(column, head, dim);
      own.scores[row * shape_.kv_heads + head] =
          std::inner_product(k, k + dim, sums + head * dim, 0.0);
    }
  }
}

void PassingChooser::choose_best(const Plan& plan, std::int64_t tokens) const {
  std::vector<double> scores(tokens * shape_.kv_heads);  // by position
  for (const Said& said : plan.said) {
    for (std::size_t row = 0; row < said.positions.size(); ++row) {
      std::copy_n(said.scores.data() + row * shape_.kv_heads, shape_.kv_heads,
                  scores.data() + said.positions[row] * shape_.kv_heads);
    }
  }
  std::uint8_t* chosen = chosen_.as<std::uint8_t>().data();
  std::fill_n(chosen, shape_.kv_heads * tokens, std::uint8_t{0});
  for (int head = 0; head < shape_.kv_heads; ++head) {
    for (std::int64_t first = 0; first < tokens; first += sizes_.block_tokens) {
      const std::int64_t begin = std::max(first, sizes_.anchor_tokens);
      const std::int64_t end = std::min(first + sizes_.block_tokens, tokens);
      if (begin >= end) continue;
      std::vector<std::int64_t> order(end - begin);
      std::iota(order.begin(), order.end(), begin);
      std::ranges::stable_sort(order, std::greater(), [&](std::int64_t position) {
        return scores[position * shape_.kv_heads + head];
      });
      const auto passing = std::min<std::int64_t>(sizes_.passing_tokens, std::ssize(order));
      for (std::int64_t i = 0; i < passing; ++i) chosen[head * tokens + order[i]] = 1;
    }
  }
}

}  // namespace longspan

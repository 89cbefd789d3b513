#include "attention/split_shape.h"

#include <algorithm>
#include <numeric>

#include "comm/error.h"

namespace longspan {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

/// The sum of keys.visible(q) over all q <= `query`: whole strides, then a broken one, then
/// positions behind the run, which see all of it.
std::int64_t visible_up_to(const PositionRun& keys, std::int64_t query) {
  if (keys.count == 0 || query < keys.first) return 0;
  const std::int64_t inside = std::min(query, keys.last()) - keys.first + 1;
  const std::int64_t behind = std::max<std::int64_t>(query - keys.last(), 0);
  const auto of_one_block = [block = keys.block](std::int64_t positions) {
    return triangle(std::min(positions, block)) +
           std::max<std::int64_t>(positions - block, 0) * block;
  };
  const std::int64_t strides = inside / keys.stride;
  const std::int64_t broken = inside % keys.stride;
  return triangle(strides - 1) * keys.block * keys.stride + strides * of_one_block(keys.stride) +
         strides * keys.block * broken + of_one_block(broken) + behind * keys.count;
}

/// Positions without a gap, as one block.
bool is_solid(const PositionRun& run) { return run.stride == run.block || run.count <= run.block; }

std::int64_t causal_pairs(const std::vector<PositionRun>& queries,
                          const std::vector<PositionRun>& keys) {
  std::int64_t pairs = 0;
  for (const PositionRun& query_run : queries) {
    for (const PositionRun& key_run : keys) pairs += causal_pairs(query_run, key_run);
  }
  return pairs;
}

}  // namespace

std::int64_t SplitShape::new_tokens() const { return sum(rows); }

std::int64_t SplitShape::columns() const { return sum(cached) + sum(rows); }

std::int64_t SplitShape::longest_stream() const {
  std::int64_t longest = 0;
  for (int j = 0; j < size(); ++j) longest = std::max(longest, stream(j));
  return longest;
}

std::int64_t SplitShape::most_rows() const { return *std::ranges::max_element(rows); }

std::int64_t causal_pairs(const PositionRun& queries, const PositionRun& keys) {
  if (queries.count == 0) return 0;
  if (is_solid(queries)) {
    return visible_up_to(keys, queries.last()) - visible_up_to(keys, queries.first - 1);
  }
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < queries.count; i += queries.block) {
    const std::int64_t first = queries.position(i);
    const std::int64_t count = std::min(queries.block, queries.count - i);
    pairs += visible_up_to(keys, first + count - 1) - visible_up_to(keys, first - 1);
  }
  return pairs;
}

SplitShape split_shape(const Deal& deal, std::span<const std::int64_t> cached) {
  expects(std::ssize(cached) == deal.ranks, "cached columns of every rank");
  SplitShape shape;
  shape.cached.assign(cached.begin(), cached.end());
  std::vector<std::vector<PositionRun>> shards;
  for (int rank = 0; rank < deal.ranks; ++rank) shards.push_back(shard(deal, rank));
  for (const auto& queries : shards) {
    shape.rows.push_back(token_count(queries));
    for (const auto& keys : shards) shape.masked.push_back(causal_pairs(queries, keys));
  }
  return shape;
}

SplitShape split_shape(const Deal& deal, std::int64_t page_tokens) {
  std::vector<std::int64_t> cached;
  for (int rank = 0; rank < deal.ranks; ++rank) {
    cached.push_back(spread_columns(deal.first, page_tokens, deal.ranks, rank));
  }
  return split_shape(deal, cached);
}

SplitShape even_split(std::int64_t new_tokens, std::int64_t cached, int ranks) {
  expects(new_tokens >= 0 && cached >= 0 && ranks >= 1, "sizes of a chunk");
  const auto size = static_cast<std::size_t>(ranks);
  return {.cached = std::vector(size, cached / ranks),
          .rows = std::vector(size, new_tokens / ranks),
          .masked = std::vector(size * size, triangle(new_tokens) / ranks / ranks)};
}

SplitShape joined(const SplitShape& shape, int by) {
  expects(by >= 1 && shape.size() % by == 0, "parts of equal size");
  const int parts = shape.size() / by;
  SplitShape out{.cached = std::vector<std::int64_t>(parts),
                 .rows = std::vector<std::int64_t>(parts),
                 .masked = std::vector<std::int64_t>(parts * parts)};
  for (int r = 0; r < shape.size(); ++r) {
    out.cached[r / by] += shape.cached[r];
    out.rows[r / by] += shape.rows[r];
    for (int j = 0; j < shape.size(); ++j) {
      out.masked[r / by * parts + j / by] += shape.masked_pairs(r, j);
    }
  }
  return out;
}

std::int64_t spread_columns(std::int64_t length, std::int64_t page_tokens, int ranks, int rank) {
  const std::int64_t round = page_tokens * ranks;
  return length / round * page_tokens +
         std::clamp<std::int64_t>(length % round - rank * page_tokens, 0, page_tokens);
}

}  // namespace longspan

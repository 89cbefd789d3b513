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

/// The columns of `run` at positions below `end`.
PositionRun below(const PositionRun& run, std::int64_t end) {
  PositionRun first = run;
  first.count = run.visible(end - 1);
  return first;
}

/// Pairs of a row of `queries` and a key before its mask's near_from(). A window's are those that
/// are at or before it W positions earlier; of blocks, all rows up to near_until() see the same.
std::int64_t far_pairs(const Mask& mask, const PositionRun& queries, const PositionRun& keys) {
  if (mask.is_windowed()) {
    PositionRun before = queries;
    before.first -= mask.keys();
    return causal_pairs(before, keys);
  }
  if (!mask.has_blocks() || keys.count == 0) return 0;
  const std::int64_t solid = is_solid(queries) ? queries.count : queries.block;
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < queries.count;) {
    const std::int64_t first = queries.position(i);
    const std::int64_t left = std::min(queries.count, (i / solid + 1) * solid) - i;
    const std::int64_t rows = std::min(left, mask.near_until(first) - first);
    pairs += rows * keys.visible(mask.near_from(first) - 1);
    i += rows;
  }
  return pairs;
}

std::int64_t near_pairs(const Mask& mask, const PositionRun& queries, const PositionRun& keys) {
  return causal_pairs(queries, keys) - far_pairs(mask, queries, keys);
}

std::int64_t seen_pairs(const Mask& mask, const std::vector<PositionRun>& queries,
                        const std::vector<PositionRun>& keys) {
  std::int64_t pairs = 0;
  for (const PositionRun& query_run : queries) {
    for (const PositionRun& key_run : keys) pairs += seen_pairs(mask, query_run, key_run);
  }
  return pairs;
}

/// Of rows at `queries`, and of the keys of a stream whose positions are known.
std::int64_t masked_pairs(const Mask& mask, const std::vector<PositionRun>& queries,
                          const StreamShape& keys) {
  std::int64_t pairs = seen_pairs(mask, queries, keys.runs);
  for (const CachedPiece& piece : keys.pieces) pairs += seen_pairs(mask, queries, piece.runs);
  return pairs;
}

/// Of the cached columns, those that end where the rank's columns do.
std::int64_t last_columns(const StreamShape& stream) {
  if (stream.pieces.empty()) return 0;
  const CachedPiece& last = stream.pieces.back();
  return last.columns().end == stream.held ? last.count : 0;
}

SplitShape shape_of(const std::vector<StreamShape>& streams, const Mask& mask) {
  SplitShape shape{.mask = mask};
  for (const StreamShape& queries : streams) {
    shape.cached.push_back(queries.cached);
    shape.first_cached.push_back(queries.held - last_columns(queries));
    shape.anchored.push_back(queries.cached - last_columns(queries));
    shape.rows.push_back(queries.rows);
    for (const StreamShape& keys : streams) {
      shape.masked.push_back(mask.is_full() ? 0 : masked_pairs(mask, queries.runs, keys));
    }
  }
  return shape;
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

std::int64_t seen_pairs(const Mask& mask, const PositionRun& queries, const PositionRun& keys) {
  const PositionRun anchor = below(keys, mask.anchor());
  std::int64_t pairs = 0;
  for (const Mask& part : mask.parts()) {
    if (part.is_anchor()) {
      pairs += causal_pairs(queries, anchor);
    } else if (part.is_between()) {
      pairs += far_pairs(part, queries, keys) - far_pairs(part, queries, anchor);
    } else {
      pairs += near_pairs(part, queries, keys) - near_pairs(part, queries, anchor);
    }
  }
  return pairs;
}

SplitShape split_shape(const Deal& deal, const SequenceStorage& storage, const Mask& mask) {
  std::vector<StreamShape> streams;
  for (int rank = 0; rank < deal.group_size(); ++rank) {
    streams.push_back(make_stream(deal, rank, storage, mask));
  }
  SplitShape shape = shape_of(streams, mask);
  shape.page_tokens = storage.page_tokens;
  return shape;
}

SplitShape split_shape(const Deal& deal, std::int64_t page_tokens, const Mask& mask) {
  SequenceStorage spread{.page_tokens = page_tokens, .owners = {}, .slots = {}};
  for (std::int64_t page = 0; page * page_tokens < deal.first; ++page) {
    spread.owners.push_back(static_cast<int>(page % deal.ranks));
  }
  return split_shape(deal, spread, mask);
}

SplitShape split_shape(const Deal& deal, std::span<const std::int64_t> cached) {
  expects(std::ssize(cached) == deal.group_size(), "cached columns of every rank");
  std::vector<StreamShape> streams;
  for (int rank = 0; rank < deal.group_size(); ++rank) {
    StreamShape stream{.cached = cached[rank], .held = cached[rank], .runs = shard(deal, rank)};
    if (stream.cached > 0) stream.pieces.push_back({.first = 0, .count = stream.cached});
    stream.rows = token_count(stream.runs);
    streams.push_back(std::move(stream));
  }
  return shape_of(streams, Mask::causal());
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
                 .masked = std::vector<std::int64_t>(parts * parts),
                 .mask = shape.mask};
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

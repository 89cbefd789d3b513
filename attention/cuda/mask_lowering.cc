#include "attention/cuda/mask_lowering.h"

#include <algorithm>
#include <bit>

namespace longspan {
namespace {

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

/// position(i) = first + i
bool is_solid(const PositionRun& run) { return run.count <= run.block || run.stride == run.block; }

PositionRun solid(std::int64_t first, std::int64_t count) {
  return {.first = first, .block = count, .stride = count, .count = count};
}

RowBound bound(std::int32_t gran, std::int64_t off, std::int64_t cap) {
  return {gran, static_cast<std::int32_t>(off), static_cast<std::int32_t>(cap)};
}
RowBound always(std::int64_t column) { return RowBound::always(static_cast<std::int32_t>(column)); }

/// Positions that follow the first one without a gap.
std::int64_t solid_count(std::span<const std::int64_t> positions) {
  std::size_t count = 1;
  while (count < positions.size() && positions[count] == positions[count - 1] + 1) ++count;
  return static_cast<std::int64_t>(count);
}

/// The longest run that the list begins with.
PositionRun first_run(std::span<const std::int64_t> positions) {
  const std::int64_t size = std::ssize(positions), block = solid_count(positions);
  PositionRun run = solid(positions[0], block);
  // Every further block must be as far from the one before as the second is from the first, and,
  // but for the last, as long.
  std::int64_t stride = 0;
  for (std::int64_t at = block; at < size && run.count % block == 0;) {
    const std::int64_t step = positions[at] - positions[at - block];
    const std::int64_t count = solid_count(positions.subspan(at));
    if (stride == 0) stride = step;
    if (step != stride || stride < block || count > block) break;
    run = {.first = run.first, .block = block, .stride = stride, .count = run.count + count};
    at += count;
  }
  return run;
}

RowRun part(const RowRun& run, std::int64_t first, std::int64_t count) {
  return {run.first_row + first, solid(run.positions.position(first), count)};
}

/// Keys up to the segment's end.
PositionRun keys_of(const KvSegment& segment) {
  PositionRun keys = segment.positions;
  keys.count = std::min(keys.count, segment.len);
  return keys;
}

/// How many rows of a solid run come before the first at which the keys' next stride begins, for
/// either bound; all, if none does.
std::int64_t rows_to_border(const PositionRun& queries, const KvSegment& segment) {
  const PositionRun keys = keys_of(segment);
  std::int64_t rows = queries.count;
  const auto look = [&](std::int64_t behind) {
    const std::int64_t from_first = queries.first - behind - keys.first;
    const std::int64_t to_next =
        (floor_div(from_first, keys.stride) + 1) * keys.stride - from_first;
    rows = std::min(rows, from_first < 0 ? -from_first : to_next);
  };
  look(0);
  if (segment.mask.is_windowed()) look(segment.mask.keys());
  return rows;
}

void cut_to_fit(const RowRun& run, std::span<const KvSegment> segments, std::vector<RowRun>& out) {
  const auto misfit = std::ranges::find_if(
      segments, [&](const KvSegment& segment) { return !lowered(run.positions, segment); });
  const PositionRun& positions = run.positions;
  if (misfit == segments.end()) {
    out.push_back(run);
    return;
  }
  const std::int64_t step =
      is_solid(positions) ? rows_to_border(positions, *misfit) : positions.block;
  for (std::int64_t first = 0; first < positions.count;) {
    // Of a solid run only the first part ends at a border.
    const bool is_rest = is_solid(positions) && first > 0;
    const std::int64_t left = positions.count - first;
    const std::int64_t count = is_rest ? left : std::min(step, left);
    cut_to_fit(part(run, first, count), segments, out);
    first += count;
  }
}

}  // namespace

std::vector<RowRun> runs_of(std::span<const std::int64_t> positions) {
  std::vector<RowRun> runs;
  for (std::int64_t row = 0; row < std::ssize(positions);) {
    runs.push_back({row, first_run(positions.subspan(row))});
    row += runs.back().positions.count;
  }
  return runs;
}

std::optional<RowBound> lowered(const PositionRun& queries, const PositionRun& keys,
                                std::int64_t behind) {
  const std::int64_t first = queries.first - behind, last = queries.last() - behind;
  if (keys.count == 0 || keys.first > last) return always(0);
  if (keys.last() <= first) return always(keys.count);
  const std::int64_t from_first = first - keys.first;
  if (is_solid(queries) && is_solid(keys)) return bound(0, from_first + 1, keys.count);
  const std::int64_t stride = keys.stride, block = keys.block;
  const std::int64_t strides = floor_div(from_first, stride);
  const std::int64_t offset = from_first - strides * stride;
  if (is_solid(queries)) {
    // Inside one stride of the keys the rows see more and more of its block, then all of it.
    if (floor_div(last - keys.first, stride) != strides) return std::nullopt;
    const std::int64_t whole = std::min(keys.count, (strides + 1) * block);
    if (offset >= block - 1) return always(whole);
    return bound(0, strides * block + offset + 1, whole);
  }
  const bool is_alike = queries.block == block && queries.stride == stride;
  if (!is_alike || !std::has_single_bit(static_cast<std::uint64_t>(block))) return std::nullopt;
  if (offset == 0) return bound(0, strides * block + 1, keys.count);
  if (offset < block - 1 || offset > stride - block) return std::nullopt;
  return bound(static_cast<std::int32_t>(block - 1), (strides + 1) * block, keys.count);
}

bool has_bounds(const Mask& mask) {
  return mask.is_full() ||
         (mask.is_one_part() && !mask.needs_choice() && !mask.has_blocks() && mask.anchor() == 0);
}

std::optional<SeenColumns> lowered(const PositionRun& queries, const KvSegment& segment) {
  if (segment.mask.is_full()) return SeenColumns{always(0), always(segment.len)};
  const PositionRun keys = keys_of(segment);
  const auto end = lowered(queries, keys, 0);
  const auto begin = segment.mask.is_windowed() ? lowered(queries, keys, segment.mask.keys())
                                                : std::optional(always(0));
  if (!begin || !end) return std::nullopt;
  return SeenColumns{*begin, *end};
}

std::vector<RowRun> cut_to_fit(const RowRun& run, std::span<const KvSegment> segments) {
  std::vector<RowRun> parts;
  cut_to_fit(run, segments, parts);
  return parts;
}

}  // namespace longspan

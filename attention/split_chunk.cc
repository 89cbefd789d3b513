#include "attention/split_chunk.h"

#include <algorithm>

#include "comm/error.h"

namespace longspan {
namespace {

/// Columns [part.begin, part.end) of `run` as runs of their own: a broken first block, whole
/// blocks, so at most two.
std::vector<PositionRun> slices(const PositionRun& run, Interval part) {
  std::vector<PositionRun> out;
  while (part.begin < part.end) {
    const std::int64_t inside = part.begin % run.block;
    const std::int64_t left = part.end - part.begin;
    const bool whole = inside == 0;
    const std::int64_t count = whole ? left : std::min(left, run.block - inside);
    const std::int64_t block = whole ? run.block : count;
    const std::int64_t stride = whole ? run.stride : count;
    out.push_back({run.position(part.begin), block, stride, count});
    part.begin += count;
  }
  return out;
}

/// What this rank keeps of one stream: page by page, the columns of each run that fall into it.
std::vector<Keep> kept_columns(const Deal& deal, int rank, const SequenceStorage& storage,
                               const StreamShape& stream) {
  std::vector<Keep> keep;
  const std::int64_t end = deal.first + deal.count;
  std::int64_t own_page = 0;  // index among this rank's pages
  for (std::int64_t page = 0; page * storage.page_tokens < end; ++page) {
    if (storage.owners[page] != rank) continue;
    const Interval positions{page * storage.page_tokens, (page + 1) * storage.page_tokens};
    const std::int64_t shift = own_page++ * storage.page_tokens - positions.begin;
    std::int64_t column = stream.cached;
    for (const PositionRun& run : stream.runs) {
      const Interval part = columns(run, positions);
      std::int64_t from = column + part.begin;
      for (PositionRun slice : slices(run, part)) {
        slice.first += shift;
        keep.push_back({from, slice});
        from += slice.count;
      }
      column += run.count;
    }
  }
  return keep;
}

/// Whether whole pages that begin at `first` continue the pages of `run`.
bool continues(const PositionRun& run, std::int64_t first, std::int64_t page_tokens) {
  if (run.block != page_tokens || run.count % page_tokens != 0) return false;
  return run.count == page_tokens || first == run.first + run.count / run.block * run.stride;
}

}  // namespace

std::vector<std::int64_t> StreamShape::positions() const {
  std::vector<std::int64_t> out;
  for (const PositionRun& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) out.push_back(run.position(i));
  }
  return out;
}

std::int64_t SplitChunk::all_columns() const {
  std::int64_t total = 0;
  for (const StreamShape& stream : streams) total += stream.columns();
  return total;
}

std::int64_t SplitChunk::all_rows() const {
  std::int64_t total = 0;
  for (const StreamShape& stream : streams) total += stream.rows;
  return total;
}

std::int64_t SplitChunk::kept_columns() const {
  std::int64_t total = 0;
  for (const std::vector<Keep>& of_stream : keep) {
    for (const Keep& one : of_stream) total += one.to.count;
  }
  return total;
}

bool SplitChunk::keeps_its_own() const {
  for (int j = 0; j < size(); ++j) {
    std::int64_t kept = 0;
    for (const Keep& one : keep[j]) kept += one.to.count;
    if (kept != (j == rank ? streams[j].rows : 0)) return false;
  }
  return true;
}

std::int64_t owned_columns(const SequenceStorage& storage, int rank, std::int64_t length) {
  const std::int64_t whole = length / storage.page_tokens;
  const auto begin = storage.owners.begin();
  const std::int64_t columns = storage.page_tokens * std::count(begin, begin + whole, rank);
  const std::int64_t rest = length - whole * storage.page_tokens;
  return columns + (rest > 0 && storage.owners[whole] == rank ? rest : 0);
}

std::vector<PositionRun> owned_runs(const SequenceStorage& storage, int rank, Interval positions) {
  std::vector<PositionRun> runs;
  const std::int64_t page_tokens = storage.page_tokens;
  for (std::int64_t first = positions.begin, next = first; first < positions.end; first = next) {
    const std::int64_t page = first / page_tokens;
    next = std::min((page + 1) * page_tokens, positions.end);
    if (storage.owners[page] != rank) continue;
    const bool whole_start = first == page * page_tokens;
    if (whole_start && !runs.empty() && continues(runs.back(), first, page_tokens)) {
      PositionRun& run = runs.back();
      if (run.count == page_tokens) run.stride = first - run.first;
      run.count += next - first;
    } else {
      const std::int64_t block = whole_start ? page_tokens : next - first;
      runs.push_back({.first = first, .block = block, .stride = block, .count = next - first});
    }
  }
  return runs;
}

StreamShape make_stream(const Deal& deal, int rank, const SequenceStorage& storage,
                        const Mask& mask) {
  StreamShape stream{.held = owned_columns(storage, rank, deal.first)};
  for (const Interval& seen :
       seen_by_some(mask, {deal.first, deal.first + deal.count}, deal.first)) {
    CachedPiece piece{.first = owned_columns(storage, rank, seen.begin)};
    const std::int64_t end =
        seen.end == deal.first ? stream.held : owned_columns(storage, rank, seen.end);
    piece.count = end - piece.first;
    if (piece.count == 0) continue;
    if (!mask.sees_all_before()) piece.runs = owned_runs(storage, rank, seen);
    stream.cached += piece.count;
    stream.pieces.push_back(std::move(piece));
  }
  stream.runs = shard(deal, rank);
  stream.rows = token_count(stream.runs);
  return stream;
}

SplitChunk make_split_chunk(const Deal& deal, int rank, const SequenceStorage& storage,
                            const Mask& mask) {
  const auto pages = static_cast<std::int64_t>(storage.owners.size());
  expects(pages * storage.page_tokens >= deal.first + deal.count, "pages cover the chunk");
  expects(std::ranges::count(storage.owners, rank) <= std::ssize(storage.slots),
          "every own page has a slot");

  SplitChunk chunk;
  chunk.rank = rank;
  chunk.mask = mask;
  chunk.page_tokens = storage.page_tokens;
  chunk.slots = storage.slots;
  chunk.tail = storage.tail;
  for (int j = 0; j < deal.group_size(); ++j) {
    StreamShape stream = make_stream(deal, j, storage, mask);
    chunk.keep.push_back(kept_columns(deal, rank, storage, stream));
    chunk.streams.push_back(std::move(stream));
  }
  chunk.positions = chunk.own().positions();
  return chunk;
}

}  // namespace longspan

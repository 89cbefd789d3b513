#include "attention/kv_streams.h"

#include <algorithm>
#include <utility>

#include "attention/resting_columns.h"
#include "attention/scratch.h"

namespace longspan {
namespace {

std::vector<KvPart> flat(const std::vector<std::vector<KvPart>>& pieces) {
  std::vector<KvPart> all;
  for (const std::vector<KvPart>& parts : pieces) all.insert(all.end(), parts.begin(), parts.end());
  return all;
}

}  // namespace

std::int64_t KvStreams::row_bytes(int owner) const {
  return chunk_.streams[owner].rows * kernels_.shape().kv_values() * value_bytes(row_type());
}

std::int64_t KvStreams::values(int owner) const {
  const StreamShape& stream = chunk_.streams[owner];
  const HeadShape& heads = kernels_.shape();
  std::int64_t bytes = row_bytes(owner);
  if (cached_ == Cached::kTravel) {
    for (const CachedPiece& piece : stream.pieces) {
      bytes +=
          resting_bytes(pages_.rest.type, heads, chunk_.page_tokens, piece.columns(), stream.held);
    }
  }
  return bytes / static_cast<std::int64_t>(sizeof(float));
}

std::int64_t KvStreams::most_values() const {
  std::int64_t most = 0;
  for (int j = 0; j < chunk_.size(); ++j) most = std::max(most, values(j));
  return most;
}

Bytes KvStreams::bytes(int owner, const float* memory) const {
  return message_bytes(memory, values(owner));
}

KvView KvStreams::rows(int owner, float* memory) const {
  const std::int64_t columns = std::max<std::int64_t>(chunk_.streams[owner].rows, 1);
  return pages_at(memory, row_type(), kernels_.shape(), columns);
}

std::vector<std::vector<KvPart>> KvStreams::cached(int owner, float* memory) const {
  std::vector<std::vector<KvPart>> pieces;
  if (cached_ == Cached::kStay) return pieces;
  const StreamShape& stream = chunk_.streams[owner];
  const HeadShape& heads = kernels_.shape();
  auto* next = reinterpret_cast<std::byte*>(memory) + row_bytes(owner);
  for (const CachedPiece& piece : stream.pieces) {
    std::vector<KvPart>& parts = pieces.emplace_back();
    for (const RestingPart& part :
         resting_parts(pages_.rest.type, chunk_.page_tokens, piece.columns(), stream.held)) {
      parts.push_back({pages_at(next, part.type, heads, part.page_tokens), part.columns()});
      next += part.bytes(heads);
    }
  }
  return pieces;
}

std::vector<KvPart> KvStreams::parts(int owner, float* memory) const {
  std::vector<KvPart> all = flat(cached(owner, memory));
  all.push_back({rows(owner, memory), chunk_.streams[owner].rows});
  return all;
}

void KvStreams::pack_own(Stream& stream, float* memory) const {
  const std::vector<KvPart> to = flat(cached(chunk_.rank, memory));
  if (to.empty()) return;
  kernels_.copy_kv(stream, copies_between(flat(own_cached()), to));
}

std::vector<std::vector<KvPart>> KvStreams::own_cached() const {
  const StreamShape& own = chunk_.own();
  std::vector<std::vector<KvPart>> pieces;
  for (const CachedPiece& piece : own.pieces) {
    pieces.push_back(pages_.parts({chunk_.slots, chunk_.tail}, piece.columns(), own.held,
                                  kernels_.shape().head_dim));
  }
  return pieces;
}

std::vector<KvSegment> KvStreams::segments(int owner, float* memory,
                                           std::span<const std::int64_t> rows) const {
  if (rows.empty()) return {};
  const StreamShape& shape = chunk_.streams[owner];
  const bool here = cached_ == Cached::kStay;
  expects(!here || shape.cached == 0 || owner == chunk_.rank,
          "cached columns that stay are read by their owner");
  std::vector<KvSegment> out;
  if (shape.cached > 0) add_cached(shape, here ? own_cached() : cached(owner, memory), out);
  add_runs(shape.runs, {{this->rows(owner, memory), shape.rows}}, out);
  const auto [first, last] = std::ranges::minmax(rows);
  std::erase_if(out, [first, last](const KvSegment& segment) {
    const Interval seen = segment.seen(first, last);
    return seen.begin >= seen.end;
  });
  return out;
}

/// Cached columns come before every row, so that where nothing is too far all rows see all of them.
void KvStreams::add_cached(const StreamShape& shape, const std::vector<std::vector<KvPart>>& parts,
                           std::vector<KvSegment>& out) const {
  for (std::size_t i = 0; i < shape.pieces.size(); ++i) {
    if (!shape.pieces[i].runs.empty()) {
      add_runs(shape.pieces[i].runs, parts[i], out);
      continue;
    }
    for (const KvPart& part : parts[i]) {
      out.push_back(
          {.view = part.view, .len = part.columns, .mask = Mask::full(), .positions = {}});
    }
  }
}

/// The runs lie one after the other in the parts, a segment for each run in each part, and for each
/// part of the mask. In pages a run begins with a page or lies within one, so that each view is
/// good for all of its run; a part ends with a page, hence with a block of the run, or with the
/// last run.
void KvStreams::add_runs(const std::vector<PositionRun>& runs, const std::vector<KvPart>& parts,
                         std::vector<KvSegment>& out) const {
  const std::vector<Mask> masks = chunk_.mask.parts();
  auto part = parts.begin();
  std::int64_t column = 0;  // of the part
  for (PositionRun run : runs) {
    while (run.count > 0) {
      if (column == part->columns) {
        ++part;
        column = 0;
      }
      PositionRun here = run;
      here.count = std::min(run.count, part->columns - column);
      for (const Mask& mask : masks) {
        out.push_back({.view = part->view.from(column, kernels_.shape().head_dim),
                       .len = here.count,
                       .mask = mask,
                       .positions = here,
                       .choice = chunk_.choice});
      }
      column += here.count;
      run.count -= here.count;
      if (run.count > 0) run.first = run.position(here.count);
    }
  }
}

void KvStreams::keep(Stream& stream, int owner, float* memory) const {
  if (chunk_.keep[owner].empty()) return;
  const KvView from = rows(owner, memory);
  const bool apart = pages_.fill_apart();
  const KvView to = apart ? pages_.fresh : pages_.table_of({chunk_.slots, chunk_.tail});
  const std::int64_t filled =
      apart ? chunk_.held_columns() / chunk_.page_tokens * chunk_.page_tokens : 0;
  std::vector<KvCopy> copies;
  for (const Keep& kept : chunk_.keep[owner]) {
    PositionRun columns = kept.to;
    columns.first -= filled;
    copies.push_back({from, kept.from_column - chunk_.streams[owner].cached, to, columns});
  }
  kernels_.copy_kv(stream, std::move(copies));
}

}  // namespace longspan

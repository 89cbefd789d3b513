#include "attention/kv_streams.h"

#include <algorithm>
#include <utility>

#include "attention/scratch.h"

namespace longspan {

std::int64_t KvStreams::column0(int owner) const {
  return cached_ == Cached::kTravel ? chunk_.streams[owner].cached : 0;
}

std::int64_t KvStreams::values(int owner) const {
  return (column0(owner) + chunk_.streams[owner].rows) * kernels_.shape().kv_values();
}

Bytes KvStreams::bytes(int owner, const float* memory) const {
  return message_bytes(memory, values(owner));
}

KvView KvStreams::view(int owner, float* memory) const {
  const HeadShape& shape = kernels_.shape();
  const std::int64_t columns = column0(owner) + chunk_.streams[owner].rows;
  return {.k = memory,
          .v = memory + shape.kv_heads * columns * shape.head_dim,
          .head_stride = columns * shape.head_dim,
          .page_stride = 0,
          .table = nullptr,
          .page_tokens = columns > 0 ? columns : 1};
}

void KvStreams::pack_own(Stream& stream, float* memory) const {
  if (column0(chunk_.rank) == 0) return;
  std::vector<KvCopy> copies;
  std::int64_t column = 0;
  for (const CachedPiece& piece : chunk_.own().pieces) {
    const PositionRun to{
        .first = column, .block = piece.count, .stride = piece.count, .count = piece.count};
    copies.push_back({own_pages(), piece.first, view(chunk_.rank, memory), to});
    column += piece.count;
  }
  kernels_.copy_kv(stream, std::move(copies));
}

KvView KvStreams::own_pages() const {
  KvView pages = pages_;
  pages.table = chunk_.slots.data();
  return pages;
}

std::vector<KvSegment> KvStreams::segments(int owner, float* memory,
                                           std::span<const std::int64_t> rows) const {
  if (rows.empty()) return {};
  const StreamShape& shape = chunk_.streams[owner];
  const KvView stream = view(owner, memory);
  const bool here = cached_ == Cached::kStay;
  expects(!here || shape.cached == 0 || owner == chunk_.rank,
          "cached columns that stay are read by their owner");
  std::vector<KvSegment> out = cached_segments(shape, here ? own_pages() : stream);
  add_runs(shape.runs, stream, column0(owner), out);
  const auto [first, last] = std::ranges::minmax(rows);
  std::erase_if(out, [first, last](const KvSegment& segment) {
    const Interval seen = segment.seen(first, last);
    return seen.begin >= seen.end;
  });
  return out;
}

/// Cached columns come before every row, so that where nothing is too far all rows see all of them.
std::vector<KvSegment> KvStreams::cached_segments(const StreamShape& shape,
                                                  const KvView& view) const {
  std::vector<KvSegment> out;
  std::int64_t column = 0;
  for (const CachedPiece& piece : shape.pieces) {
    const std::int64_t first = cached_ == Cached::kStay ? piece.first : column;
    if (piece.runs.empty()) {
      out.push_back({.view = view.from(first, kernels_.shape().head_dim),
                     .len = piece.count,
                     .mask = Mask::full(),
                     .positions = {}});
    } else {
      add_runs(piece.runs, view, first, out);
    }
    column += piece.count;
  }
  return out;
}

/// The runs lie one after the other from `column` of `view` on. In pages a run begins with a page
/// or lies within one, so that each view is good for all of its run.
void KvStreams::add_runs(const std::vector<PositionRun>& runs, const KvView& view,
                         std::int64_t column, std::vector<KvSegment>& out) const {
  const std::vector<Mask> parts = chunk_.mask.parts();
  for (const PositionRun& run : runs) {
    for (const Mask& part : parts) {
      out.push_back({.view = view.from(column, kernels_.shape().head_dim),
                     .len = run.count,
                     .mask = part,
                     .positions = run,
                     .choice = chunk_.choice});
    }
    column += run.count;
  }
}

void KvStreams::keep(Stream& stream, int owner, float* memory) const {
  if (chunk_.keep[owner].empty()) return;
  const KvView from = view(owner, memory);
  const std::int64_t shift = column0(owner) - chunk_.streams[owner].cached;
  std::vector<KvCopy> copies;
  for (const Keep& kept : chunk_.keep[owner]) {
    copies.push_back({from, kept.from_column + shift, own_pages(), kept.to});
  }
  kernels_.copy_kv(stream, std::move(copies));
}

}  // namespace longspan

#include "attention/kv_streams.h"

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
  const std::int64_t columns = column0(chunk_.rank);
  if (columns == 0) return;
  KvView from = pages_;
  from.table = chunk_.slots.data();
  const PositionRun all{.first = 0, .block = columns, .stride = columns, .count = columns};
  kernels_.copy_kv(stream, {{from, 0, view(chunk_.rank, memory), all}});
}

std::vector<KvSegment> KvStreams::segments(int owner, float* memory) const {
  const StreamShape& shape = chunk_.streams[owner];
  const KvView stream = view(owner, memory);
  std::vector<KvSegment> out;
  if (shape.cached > 0) {
    KvView cached = stream;
    if (cached_ == Cached::kStay) {
      expects(owner == chunk_.rank, "cached columns that stay are read by their owner");
      cached = pages_;
      cached.table = chunk_.slots.data();
    }
    out.push_back({.view = cached, .len = shape.cached, .mask = Mask::full(), .positions = {}});
  }
  std::int64_t column = column0(owner);
  for (const PositionRun& run : shape.runs) {
    KvView from_here = stream;
    from_here.k += column * kernels_.shape().head_dim;
    from_here.v += column * kernels_.shape().head_dim;
    out.push_back({.view = from_here, .len = run.count, .mask = Mask::causal(), .positions = run});
    column += run.count;
  }
  return out;
}

void KvStreams::keep(Stream& stream, int owner, float* memory) const {
  if (chunk_.keep[owner].empty()) return;
  const KvView from = view(owner, memory);
  const std::int64_t shift = column0(owner) - chunk_.streams[owner].cached;
  KvView to = pages_;
  to.table = chunk_.slots.data();
  std::vector<KvCopy> copies;
  for (const Keep& kept : chunk_.keep[owner]) {
    copies.push_back({from, kept.from_column + shift, to, kept.to});
  }
  kernels_.copy_kv(stream, std::move(copies));
}

}  // namespace longspan

#include "attention/ring_attention.h"

#include <vector>

#include "comm/error.h"

namespace longspan {

//   transfer | KV[r] out, KV[r-1] in | KV[r-1] out, KV[r-2] in | ...
//   compute  | Q x KV[r]             | Q x KV[r-1]             | ...            time -->
//
// Two staging buffers take turns. Four waits keep them apart:
//   1 a stream leaves only after the compute that wrote it             (transfer waits for compute)
//   2 a stream is attended and kept only after it arrived              (compute waits for arrived)
//   3 it may land only after the compute that last read the buffer     (transfer waits for free)
//   4 the next layer writes the own stream only after it left: the first step's exchange holds the
//     send too, so wait 2 covers it.
// That a buffer's last *send* is over needs no event, since both use transfer_.

RingAttention::RingAttention(Device& device, AttentionKernels& kernels, std::int64_t stream_columns,
                             bool alone)
    : kernels_(kernels), stream_columns_(stream_columns) {
  const std::size_t bytes = stream_columns * kernels.shape().kv_values() * sizeof(float);
  own_ = device.allocate(bytes);
  if (!alone) {
    for (Staging& staging : staging_) staging.memory = device.allocate(bytes);
  }
  transfer_ = device.new_stream();
}

std::size_t RingAttention::memory_bytes(const HeadShape& shape, std::int64_t stream_columns,
                                        bool alone) {
  return (alone ? 1 : 3) * stream_columns * shape.kv_values() * sizeof(float);
}

KvView RingAttention::stream_view(float* columns, std::int64_t count) const {
  const HeadShape& shape = kernels_.shape();
  return {.k = columns,
          .v = columns + shape.kv_heads * count * shape.head_dim,
          .head_stride = count * shape.head_dim,
          .page_stride = 0,
          .table = nullptr,
          .page_tokens = count > 0 ? count : 1};
}

/// A rank alone attends its cached pages in place; only what travels is packed.
std::int64_t RingAttention::packed_cached(const RingChunk& chunk, int owner) const {
  return chunk.size() > 1 ? chunk.streams[owner].cached : 0;
}

std::int64_t RingAttention::stream_values(const RingChunk& chunk, int owner) const {
  const std::int64_t columns = packed_cached(chunk, owner) + chunk.streams[owner].rows;
  return columns * kernels_.shape().kv_values();
}

KvView RingAttention::own_stream(const RingChunk& chunk) const {
  return stream_view(own_.as<float>().data(), column0(chunk) + chunk.own().rows);
}

std::int64_t RingAttention::column0(const RingChunk& chunk) const {
  return packed_cached(chunk, chunk.rank);
}

void RingAttention::run(Stream& compute, const Group& group, const RingChunk& chunk,
                        const KvView& pages, const float* q, RunningState state) {
  const int size = chunk.size();
  expects(group.size() == size && group.rank() == chunk.rank, "the chunk is the group's");
  expects(
      size > 1 ? chunk.longest_stream() <= stream_columns_ : chunk.own().rows <= stream_columns_,
      "streams fit their buffers");

  pack_cached(compute, chunk, pages);
  kernels_.reset(compute, state, chunk.own().rows);
  Held held{chunk.rank, own_.as<float>().data(), nullptr};
  transfer_->wait(compute.record());

  for (int step = 0; step < size; ++step) {
    Held incoming{};
    Event arrived;
    if (step + 1 < size) {
      Staging& landing = staging_[step % 2];
      incoming = {(held.owner + size - 1) % size, landing.memory.as<float>().data(), &landing};
      arrived = pass_on(group, chunk, held, incoming);
    }
    attend(compute, chunk, pages, q, held, state);
    keep(compute, chunk, pages, held);
    if (held.staging) held.staging->free = compute.record();
    compute.wait(arrived);
    held = incoming;
  }
}

Event RingAttention::pass_on(const Group& group, const RingChunk& chunk, const Held& held,
                             const Held& incoming) {
  const int next = (chunk.rank + 1) % chunk.size();
  const int previous = (chunk.rank + chunk.size() - 1) % chunk.size();
  const auto bytes_of = [&](const Held& stream) {
    const auto values = static_cast<std::size_t>(stream_values(chunk, stream.owner));
    return std::as_writable_bytes(std::span(stream.columns, values));
  };
  transfer_->wait(incoming.staging->free);
  group.exchange(*transfer_, {{next, bytes_of(held)}}, {{previous, bytes_of(incoming)}});
  return transfer_->record();
}

void RingAttention::attend(Stream& compute, const RingChunk& chunk, const KvView& pages,
                           const float* q, const Held& held, RunningState state) {
  if (chunk.positions.empty()) return;
  const StreamShape& shape = chunk.streams[held.owner];
  const std::int64_t packed = packed_cached(chunk, held.owner);
  const KvView stream = stream_view(held.columns, packed + shape.rows);
  std::vector<KvSegment> segments;
  if (shape.cached > 0) {
    KvView cached = stream;
    if (held.owner == chunk.rank) {
      cached = pages;
      cached.table = chunk.slots.data();
    }
    segments.push_back({.view = cached, .len = shape.cached, .causal = false, .positions = {}});
  }
  std::int64_t column = packed;
  for (const PositionRun& run : shape.runs) {
    KvView view = stream;
    view.k += column * kernels_.shape().head_dim;
    view.v += column * kernels_.shape().head_dim;
    segments.push_back({.view = view, .len = run.count, .causal = true, .positions = run});
    column += run.count;
  }
  kernels_.attend(compute, {.q = q, .positions = chunk.positions}, std::move(segments), state);
}

void RingAttention::keep(Stream& compute, const RingChunk& chunk, const KvView& pages,
                         const Held& held) {
  const StreamShape& shape = chunk.streams[held.owner];
  const std::int64_t packed = packed_cached(chunk, held.owner);
  const KvView from = stream_view(held.columns, packed + shape.rows);
  KvView to = pages;
  to.table = chunk.slots.data();
  std::vector<KvCopy> copies;
  for (const Keep& kept : chunk.keep[held.owner]) {
    copies.push_back({from, kept.from_column - shape.cached + packed, to, kept.to});
  }
  if (!copies.empty()) kernels_.copy_kv(compute, std::move(copies));
}

void RingAttention::pack_cached(Stream& compute, const RingChunk& chunk, const KvView& pages) {
  const std::int64_t cached = packed_cached(chunk, chunk.rank);
  if (cached == 0) return;
  KvView from = pages;
  from.table = chunk.slots.data();
  const PositionRun all{0, cached, cached, cached};
  kernels_.copy_kv(compute, {{from, 0, own_stream(chunk), all}});
}

}  // namespace longspan

// Ring attention: every rank's keys visit every rank's queries (Ring Attention, arXiv 2310.01889;
// with balanced layouts, arXiv 2311.09431; over a paged cache, arXiv 2411.01783 "pass-KV").
//
// Queries stay, streams of keys go round. Each rank folds the stream that is passing into one
// running softmax, keeps the columns whose pages it owns, and passes the stream on while it
// computes. N ranks take N - 1 steps; a rank alone sends nothing; an empty stream is no message.
#pragma once

#include <cstdint>
#include <memory>

#include "attention/kernels.h"
#include "attention/ring_chunk.h"
#include "comm/device.h"
#include "comm/group.h"

namespace longspan {

class RingAttention {
 public:
  /// Memory for streams of up to `stream_columns` columns: one's own and two that pass. `alone`: in
  /// groups of one rank only. Nothing passes then and cached columns are read where they are, so
  /// the own stream needs room for the rows alone.
  RingAttention(Device& device, AttentionKernels& kernels, std::int64_t stream_columns,
                bool alone = false);

  /// Bytes the constructor allocates.
  static std::size_t memory_bytes(const HeadShape& shape, std::int64_t stream_columns, bool alone);

  /// Where the keys and values of this rank's rows belong before run(): columns
  /// [column0(chunk), + rows) of own_stream(chunk), in order of `chunk.positions`.
  KvView own_stream(const RingChunk& chunk) const;
  std::int64_t column0(const RingChunk& chunk) const;

  /// Enqueues attention of this rank's rows over all keys of the sequence up to the chunk's end,
  /// and the copies of what this rank keeps into `pages` (the pool at this layer, without a
  /// table). `chunk` must live until `compute` is past the call.
  ///   q: (rows, query_heads, head_dim) after RoPE; state: running softmax, reset by this call
  void run(Stream& compute, const Group& group, const RingChunk& chunk, const KvView& pages,
           const float* q, RunningState state);

 private:
  /// A buffer a passing stream lands in, and the event after which it may be overwritten.
  struct Staging {
    Buffer memory;
    Event free;
  };
  /// The stream under attention: whose it is, where its bytes are.
  struct Held {
    int owner;
    float* columns;
    Staging* staging;  // null: this rank's own stream
  };

  Event pass_on(const Group& group, const RingChunk& chunk, const Held& held, const Held& incoming);
  void attend(Stream& compute, const RingChunk& chunk, const KvView& pages, const float* q,
              const Held& held, RunningState state);
  void keep(Stream& compute, const RingChunk& chunk, const KvView& pages, const Held& held);
  void pack_cached(Stream& compute, const RingChunk& chunk, const KvView& pages);
  KvView stream_view(float* columns, std::int64_t count) const;
  std::int64_t packed_cached(const RingChunk& chunk, int owner) const;
  std::int64_t stream_values(const RingChunk& chunk, int owner) const;

  AttentionKernels& kernels_;
  std::int64_t stream_columns_;
  Buffer own_;
  Staging staging_[2];
  std::unique_ptr<Stream> transfer_;  // last: drains before what its work touches goes
};

}  // namespace longspan

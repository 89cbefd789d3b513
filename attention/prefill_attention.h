// Attention of a chunk's rows over all keys of the sequence, computed by a group of ranks: what
// every prefill strategy offers, and the memory they take turns to use.
//
// They differ in what travels. All give the same result, since attention over any partition of the
// keys, merged by log-sum-exp, equals attention over all of them.
#pragma once

#include <cstdint>
#include <memory>

#include "attention/kernels.h"
#include "attention/kv_streams.h"
#include "attention/split_chunk.h"
#include "comm/device.h"
#include "comm/error.h"
#include "comm/group.h"

namespace longspan {

/// The most any chunk may ask of a rank.
struct PrefillLimits {
  std::int64_t rows = 0;         // of one rank
  std::int64_t columns = 0;      // of one rank's stream, cached columns included
  std::int64_t all_rows = 0;     // of all ranks
  std::int64_t all_columns = 0;  // of all streams
  int ranks = 1;
  KvType kv_type = KvType::kFloat32;  // of pages
  std::int64_t page_tokens = 1;

  /// Floats of one rank's stream, and of all streams.
  std::int64_t stream_values(const HeadShape& heads) const;
  std::int64_t all_stream_values(const HeadShape& heads) const;
};

/// Memory of one rank's strategies. One of them runs at a time, and nothing is left in here from
/// one layer to the next: a run ends with the compute stream waiting for the last transfer.
struct PrefillMemory {
  Buffer own;                         // this rank's stream
  Buffer scratch;                     // what else the strategy needs
  KvType kv_type = KvType::kFloat32;  // of pages
  std::unique_ptr<Stream> transfer;   // last: drains before what its work touches goes
};

class PrefillAttention {
 public:
  /// Borrows everything.
  PrefillAttention(Device& device, AttentionKernels& kernels, PrefillMemory& memory)
      : device_(device), kernels_(kernels), memory_(memory) {}
  PrefillAttention(const PrefillAttention&) = delete;
  PrefillAttention& operator=(const PrefillAttention&) = delete;
  virtual ~PrefillAttention() = default;

  /// Where the keys and values of this rank's rows belong before run(): columns [0, rows), in order
  /// of `chunk.positions`.
  KvView own_stream(const SplitChunk& chunk) const {
    return streams(chunk, {{.type = memory_.kv_type}}).rows(chunk.rank, own());
  }

  /// Enqueues attention of this rank's rows over all keys of the sequence up to the chunk's end,
  /// and the copies of what this rank keeps into `pages`, at this layer; begin_keeping() and
  /// settle() of kv_pages.h belong around it. `chunk` must live until `compute` is past the call.
  ///   q:     (rows, query_heads, head_dim) after RoPE; may be overwritten once compute is past it
  ///   state: memory for the running softmax; afterwards acc holds O
  virtual void run(Stream& compute, const Group& group, const SplitChunk& chunk,
                   const KvPages& pages, const float* q, RunningState state) = 0;

 protected:
  /// Whether other ranks need this rank's cached columns in its stream: where keys are passed on,
  /// as here, they do; a rank alone attends them in place.
  virtual Cached cached(const SplitChunk& chunk) const {
    return chunk.size() > 1 ? Cached::kTravel : Cached::kStay;
  }

  KvStreams streams(const SplitChunk& chunk, const KvPages& pages) const {
    expects(kernels_.new_columns(pages.rest.type) == kernels_.new_columns(memory_.kv_type),
            "pages are of the type that memory was planned for");
    return KvStreams(kernels_, chunk, pages, cached(chunk));
  }
  float* own() const { return memory_.own.as<float>().data(); }
  Stream& transfer() const { return *memory_.transfer; }

  Device& device_;
  AttentionKernels& kernels_;
  PrefillMemory& memory_;
};

}  // namespace longspan

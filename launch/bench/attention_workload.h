// One rank's part of attention, of a chunk or of a decode step, with nothing else of a model:
// random queries, and random keys in pages whose slots lie in random order, as in a pool that has
// been in use.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/decode_attention.h"
#include "attention/prefill_attention.h"
#include "runtime/memory/kv_page_pool.h"

namespace longspan {

class AttentionWorkload {
 public:
  /// Room for `rows` rows and `pages` pages, filled; of `page` the layers are one, and the type
  /// has no scales. Allocates; borrows device and kernels.
  AttentionWorkload(Device& device, AttentionKernels& kernels, std::int64_t rows, int pages,
                    const KvPageShape& page);
  static std::int64_t memory_bytes(std::int64_t rows, std::int64_t pages, const KvPageShape& page);

  /// Of all pages, in the order in which a sequence takes them.
  const std::vector<PageSlot>& slots() const { return slots_; }
  Stream& compute() { return *compute_; }

  /// Writes keys where `attention` expects those of this rank's rows, as a projection does.
  void write_own_keys(PrefillAttention& attention, const SplitChunk& chunk);
  /// Enqueues the chunk's attention on compute().
  void attend(PrefillAttention& attention, const Group& group, const SplitChunk& chunk);
  /// The same of a decode step. `batch` must live until compute() is past the call.
  void decode(DecodeAttention& attention, const Group& group, const DecodeBatch& batch);
  /// Enqueues attention of the step's rows over the columns that this rank owns.
  void decode_own(const DecodeBatch& batch);

 private:
  Device& device_;
  AttentionKernels& kernels_;
  KvPagePool pool_;
  std::vector<PageSlot> slots_;
  Buffer q_, acc_, m_, l_;
  std::unique_ptr<Stream> compute_;  // last: drains before what its work touches goes
};

}  // namespace longspan

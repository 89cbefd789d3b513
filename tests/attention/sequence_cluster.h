// Ranks that hold one sequence in pages, for tests of attention across ranks: the pages, who owns
// them, and a rank's rows of a chunk attended by any strategy.
#pragma once

#include <memory>
#include <vector>

#include "attention/kernels.h"
#include "attention/prefill_strategies.h"
#include "comm/cpu/cpu_device.h"
#include "comm/group.h"
#include "tests/attention/random_sequence.h"

namespace longspan::test {

/// One rank's device, kernels and pages. Every value starts as NaN: what is not written must not
/// be read. Pages that fill in place are those of all layers; others are a layer's own, whose tail
/// is what its last chunk left.
class PagedRank {
 public:
  PagedRank(const HeadShape& shape, std::int64_t page_tokens, int pages,
            KvType type = KvType::kFloat32, int layers = 1);

  KvPages pages(int layer = 0) const;
  Buffer new_buffer(std::int64_t values);

  const HeadShape shape;
  const std::int64_t page_tokens;
  const KvType type;
  CpuDevice device{1};
  std::unique_ptr<AttentionKernels> kernels;

 private:
  std::int64_t bytes(KvType of, int pages) const {
    return pages * page_bytes(of, shape, page_tokens);
  }

  int count_;
  Buffer memory_;  // of each layer: pages, then, if they fill elsewhere, a tail and fresh pages
};

/// This rank's storage of a sequence whose page p belongs to owners[p]; slots run backwards, so
/// that a kernel that ignores the table fails.
SequenceStorage storage_on(int rank, std::int64_t page_tokens, const std::vector<int>& owners);

/// Attends the chunk on this rank and returns its rows, (rows, query_heads,
/// head_dim), of the last of `layers` layers. So that a missing wait shows, buffers are used by
/// several layers, whose values differ, and the keys are written on the compute stream, as a
/// projection does.
std::vector<float> chunk_rows(PagedRank& rank, PrefillAttention& attention, Group& group,
                              const Deal& deal, const SequenceStorage& storage,
                              const RandomSequence& sequence, int layers = 3);

/// The same, under the sequence's mask, and the worst error of the rows against the oracle.
double run_chunk(PagedRank& rank, PrefillAttention& attention, Group& group, const Deal& deal,
                 const SequenceStorage& storage, const RandomSequence& sequence);

/// How many of the positions [0, length) that this rank owns are not in its pages bit for bit.
int missing_columns(const PagedRank& rank, int index, const SequenceStorage& storage,
                    const RandomSequence& sequence, std::int64_t length);

}  // namespace longspan::test

// Decode rows over bfloat16 keys at the speed of memory: splits by matrix units of compute
// capability 8.0 and up, then a merge.
#pragma once

#include <cuda_runtime_api.h>

#include "attention/cuda/decode_splits.h"
#include "attention/partial.h"
#include "attention/segment.h"

namespace longspan {

/// Everything lies on the GPU and is read when the kernels run: a captured launch follows rows that
/// grow, come and go.
struct MmaDecode {
  HeadShape shape;  // that decodes_by_mma()
  float scale;
  const SplitCounts* counts;
  const SplitRow* rows;
  const DecodeSplit* splits;  // splits x kv_heads < 2^31
  const SplitKeys* keys;
  Partial parts;                  // (splits, query_heads), in a multiple of 16 bytes
  unsigned long long* bad_total;  // goes up by the parts that count as empty for their lse
};

/// What the GPU has room for.
struct MmaDecodeGrid {
  int blocks;  // at a time
};

constexpr bool decodes_by_mma(const HeadShape& shape) {
  return (shape.head_dim == 64 || shape.head_dim == 128) &&
         shape.most_readers() <= kMostSplitReaders;
}
/// Whether the current GPU is of compute capability 8.0 or above.
bool device_runs_mma();
/// Once before the first launch. Throws DeviceError where a GPU has too little shared memory.
MmaDecodeGrid prepare_mma_decode(int head_dim);
/// Of `most_rows` rows, or as many as counts then says.
void launch_mma_decode(const MmaDecode& work, std::int64_t most_rows, const MmaDecodeGrid& grid,
                       cudaStream_t stream);

}  // namespace longspan

// Many query rows against segments of keys on the matrix units of any GPU since compute capability
// 8.0: bfloat16 factors, float32 state.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/cuda/prefill_tiles.h"

namespace longspan {

/// Memory of keys and values: bfloat16 (slots, kv_heads, columns, head_dim), strides in values.
struct KeyMemory {
  const void* k = nullptr;
  const void* v = nullptr;
  std::int64_t head_stride = 0;
  std::int64_t page_stride = 0;
};

struct PrefillMma : PrefillTiles {
  const void* q;  // bfloat16 (rows, query_heads, head_dim), from 16 bytes on
  KeyMemory views[kMostViews];
};

/// Once before the first launch. Throws DeviceError where a GPU has too little shared memory.
void prepare_prefill_mma(int head_dim);
/// Folds the segments into the state, in list order.
void launch_prefill_mma(const PrefillMma& work, cudaStream_t stream);

}  // namespace longspan

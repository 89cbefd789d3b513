// Merging partials on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/partial.h"

namespace longspan {

/// Everything lies on the GPU.
struct Merge {
  const Partial* partials;  // (count)
  std::int64_t count;
  Partial out;
  std::int64_t items;  // rows x query heads
  int head_dim;
  unsigned long long* bad_total;  // goes up by the sources that count as empty for their lse
};

void launch_merge(const Merge& work, cudaStream_t stream);

}  // namespace longspan

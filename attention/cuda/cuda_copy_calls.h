// AttentionKernels::copy_kv() on CUDA streams.
#pragma once

#include <vector>

#include "attention/cuda/call_memory.h"
#include "attention/kernels.h"

namespace longspan {

/// Enqueues the copies of columns of `shape`'s heads.
void copy_columns(std::vector<KvCopy> copies, const HeadShape& shape, CudaCallMemory& memory,
                  CudaStream& to);

}  // namespace longspan

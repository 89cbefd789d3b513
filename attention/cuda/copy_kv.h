// Copying columns between pages on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/kernels.h"

namespace longspan {

/// `copies`: (count), on the GPU, and so are their tables. `columns`: of the longest of them.
void launch_copy_kv(const KvCopy* copies, std::int64_t count, std::int64_t columns,
                    const HeadShape& shape, cudaStream_t stream);

}  // namespace longspan

// Reading memory on a GPU as fast as it can be read: what a kernel that hardly writes is measured
// against.
#pragma once

#include <cstddef>

#include "comm/cuda/cuda_stream.h"

namespace longspan::bench {

/// Enqueues reading `bytes` bytes, a multiple of 16, once; nothing is written. `sink` is null,
/// which no compiler knows.
void launch_read(const void* memory, std::size_t bytes, unsigned* sink, const CudaStream& stream);

}  // namespace longspan::bench

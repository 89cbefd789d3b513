// Whether something happens while a kernel has the whole GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace longspan {

/// Enqueues a kernel that leaves no thread of the current GPU to another one, until *word is not 0
/// or a fifth of a second is over; then it adds 1 to *missed.
void launch_full_gpu(const std::uint64_t* word, std::uint64_t* missed, cudaStream_t stream);

}  // namespace longspan

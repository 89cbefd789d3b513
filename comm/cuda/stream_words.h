// Words of GPU memory that streams write and wait for, by which GPUs of one host keep in step
// without a kernel: the driver's stream memory operations.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace longspan {

/// Enqueues *word = value, seen by all GPUs and the host after all that the stream did before.
/// `word` may be a peer's. Throws DeviceError where the driver cannot.
void write_word(cudaStream_t stream, std::uint64_t* word, std::uint64_t value);

/// Holds the stream until *word, a word of its own GPU, is `least` or more.
void wait_for_word(cudaStream_t stream, const std::uint64_t* word, std::uint64_t least);

}  // namespace longspan

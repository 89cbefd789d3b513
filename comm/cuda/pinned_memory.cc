#include "comm/cuda/pinned_memory.h"

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {

Buffer allocate_pinned(std::size_t bytes) {
  if (bytes == 0) return {};
  void* memory = nullptr;
  const cudaError_t code = cudaHostAlloc(&memory, bytes, cudaHostAllocMapped);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemory(
        str("cannot pin {} of host memory: the limit on locked memory (ulimit -l) or "
            "the host's memory is reached",
            human_bytes(static_cast<std::int64_t>(bytes))));
  }
  cuda_check(code, str("pinning {} bytes of host memory", bytes));
  return Buffer({static_cast<std::byte*>(memory), bytes}, [memory] { cudaFreeHost(memory); });
}

}  // namespace longspan

#include "attention/cuda/call_memory.h"

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_check.h"

namespace longspan {
namespace {

int multiprocessors_of(const CudaDevice& gpu) {
  int count = 0;
  cuda_check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, gpu.ordinal()),
             "counting multiprocessors");
  return count;
}

}  // namespace

CudaCallMemory::CudaCallMemory(CudaDevice& gpu)
    : device(gpu),
      descriptors(gpu),
      splits(gpu),
      queries(gpu),
      keys(gpu),
      arrivals(gpu),
      multiprocessors(multiprocessors_of(gpu)) {}

}  // namespace longspan

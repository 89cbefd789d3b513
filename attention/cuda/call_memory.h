// What calls of CUDA kernels need while they run. Kernels for several slices of heads share one.
#pragma once

#include "attention/cuda/arrivals.h"
#include "attention/cuda/descriptor_pool.h"
#include "attention/cuda/shared_scratch.h"
#include "comm/cuda/cuda_device.h"

namespace longspan {

struct CudaCallMemory {
  /// Borrows the device, which must be the current one.
  explicit CudaCallMemory(CudaDevice& gpu);

  CudaDevice& device;
  DescriptorPool descriptors;
  SharedScratch splits;
  SharedScratch queries;  // rounded, behind the counter of tiles
  SharedScratch keys;     // of float32, rounded
  Arrivals arrivals;
  int multiprocessors;
};

}  // namespace longspan

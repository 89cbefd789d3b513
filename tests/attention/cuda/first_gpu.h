// The device of tests of single CUDA kernels.
#pragma once

#include <memory>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_device.h"

namespace longspan::test {

/// GPU 0, made current; null where there is none, or where `can_run`, asked of the current GPU,
/// says no.
inline std::unique_ptr<Device> first_gpu(bool (*can_run)()) {
  if (cuda_device_count() == 0) return nullptr;
  auto device = std::make_unique<CudaDevice>(0);
  cuda_check(cudaSetDevice(0), "GPU 0");
  if (!can_run()) return nullptr;
  return device;
}

}  // namespace longspan::test

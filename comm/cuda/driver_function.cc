#include "comm/cuda/driver_function.h"

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

void* find_driver_function(const char* name, unsigned since) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  cuda_check(cudaGetDriverEntryPointByVersion(name, &found, since, cudaEnableDefault, &result),
             str("looking for {} in the driver", name));
  if (result != cudaDriverEntryPointSuccess) {
    throw DeviceError(str("this driver has no {}: it must be of CUDA {}.{} or newer", name,
                          since / 1000, since % 1000 / 10));
  }
  return found;
}

void driver_check(CUresult code, const char* attempt) {
  if (code != CUDA_SUCCESS) {
    throw DeviceError(str("{}: the driver's error {}", attempt, static_cast<int>(code)));
  }
}

}  // namespace longspan

// CUDA's return codes as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace longspan {

/// Throws DeviceError "attempt: reason (cudaErrorName)" unless `code` is cudaSuccess.
void cuda_check(cudaError_t code, std::string_view attempt);

}  // namespace longspan

#include "comm/cuda/cuda_check.h"

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

void cuda_check(cudaError_t code, std::string_view attempt) {
  if (code == cudaSuccess) return;
  throw DeviceError(str("{}: {} ({})", attempt, cudaGetErrorString(code), cudaGetErrorName(code)));
}

}  // namespace longspan

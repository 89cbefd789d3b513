// Kernels that are launched before the one before them in the stream has ended (programmatic
// dependent launch, compute capability 9.0): what a kernel does before it waits, and its start
// itself, then costs no time of its own.
//
//   before   let_next_kernel_in ......... end
//   early                  launched, reads what nobody writes, wait_for_kernel_before | goes on
//
// What nobody writes are weights, and what was copied to the GPU after the kernel before, if there
// is one, since nothing is let in by a copy: an early kernel may begin to read its description.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "comm/cuda/cuda_check.h"

namespace longspan {

/// From here on the next kernel in the stream may be launched, as far as there is room for it, if
/// it is an early one.
__device__ inline void let_next_kernel_in() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Until the kernels before have ended and all that they wrote is there. Every early kernel calls
/// it before it reads what they write or writes what they read.
__device__ inline void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Whether the current GPU can. All GPUs of a process are of one kind.
inline bool launches_early() {
  static const bool can = [] {
    int device = 0, major = 0;
    cuda_check(cudaGetDevice(&device), "the current GPU");
    cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "a GPU");
    return major >= 9;
  }();
  return can;
}

struct EarlyLaunch {
  dim3 grid;
  unsigned threads;
  std::size_t shared_bytes = 0;  // dynamic
  cudaStream_t stream;
};

/// Enqueues a kernel that waits for the one before by itself.
template <typename... Parameters, typename... Arguments>
void launch_early(const EarlyLaunch& how, void (*kernel)(Parameters...), const char* what,
                  Arguments&&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = how.grid;
  launch.blockDim = dim3(how.threads);
  launch.dynamicSmemBytes = how.shared_bytes;
  launch.stream = how.stream;
  launch.attrs = &early;
  launch.numAttrs = launches_early() ? 1 : 0;
  cuda_check(cudaLaunchKernelEx(&launch, kernel, std::forward<Arguments>(arguments)...), what);
}

}  // namespace longspan

// How kernels read and write the values of K and V: the one place to extend for other element
// types. Kernels compute in float whatever the pages hold.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "attention/kv_type.h"

namespace longspan {

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void narrow(float value, float& to) { to = value; }
/// To the nearest, ties to even.
__device__ inline void narrow(float value, __nv_bfloat16& to) { to = __float2bfloat16_rn(value); }

/// function(values), values being `memory` as a pointer to what `type` says; branches once for all
/// that the function reads.
template <typename Function>
__device__ void with_values(KvType type, void* memory, const Function& function) {
  if (type == KvType::kBFloat16) {
    function(static_cast<__nv_bfloat16*>(memory));
  } else {
    function(static_cast<float*>(memory));
  }
}

}  // namespace longspan

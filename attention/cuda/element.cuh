// How kernels read the values of K and V: the one place to extend for other element types. Kernels
// compute in float whatever the pages hold.
#pragma once

namespace longspan {

__device__ inline float widen(float value) { return value; }

}  // namespace longspan

#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"

namespace longspan {

extern const CompiledKernels kAvx512Kernels{"avx512", 16, attend_lanes<16>, attend_heads<16>};

}  // namespace longspan

#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"

namespace longspan {

extern const CompiledKernels kAvx2Kernels{"avx2", 8, attend_lanes<8>, attend_heads<8>};

}  // namespace longspan

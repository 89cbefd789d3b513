#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"

namespace longspan {

extern const CompiledKernels kScalarKernels{"scalar", 4, attend_lanes<4>, attend_heads<4>};

}  // namespace longspan

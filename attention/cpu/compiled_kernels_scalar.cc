#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"
#include "attention/cpu/narrow_values.inl"

namespace longspan {

extern const CompiledKernels kScalarKernels{"scalar",
                                            4,
                                            attend_lanes<4>,
                                            attend_heads<4, float>,
                                            attend_heads<4, std::uint16_t>,
                                            {widen_float16, narrow_float16},
                                            {widen_bfloat16, narrow_bfloat16},
                                            {widen_int8_by, narrow_bfloat16_to_int8}};

}  // namespace longspan

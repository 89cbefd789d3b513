#include "attention/cpu/compiled_kernels.h"
#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"
#include "attention/cpu/narrow_values.inl"

namespace longspan {

extern const CompiledKernels kAvx2Kernels{"avx2",
                                          8,
                                          attend_lanes<8>,
                                          attend_heads<8, float>,
                                          attend_heads<8, std::uint16_t>,
                                          {widen_float16, narrow_float16},
                                          {widen_bfloat16, narrow_bfloat16},
                                          {widen_int8_by, narrow_bfloat16_to_int8}};

}  // namespace longspan

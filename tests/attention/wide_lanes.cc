// The AVX-512 version's logic, with each vector split into two of AVX2: so that it is tested on
// machines without AVX-512 too.
#include "tests/attention/wide_lanes.h"

#include "attention/cpu/head_kernel.inl"
#include "attention/cpu/lane_kernel.inl"
#include "attention/cpu/narrow_values.inl"

namespace longspan::test {

extern const CompiledKernels kWideLanesKernels{"avx512-as-avx2",
                                               16,
                                               attend_lanes<16>,
                                               attend_heads<16, float>,
                                               attend_heads<16, std::uint16_t>,
                                               {widen_float16, narrow_float16},
                                               {widen_bfloat16, narrow_bfloat16},
                                               {widen_int8_by, narrow_bfloat16_to_int8}};

}  // namespace longspan::test

// The AVX-512 version's logic, with each vector split into two of AVX2: so that it is tested on
// machines without AVX-512 too.
#include "tests/attention/wide_lanes.h"

#include "attention/cpu/tile_kernel.inl"

namespace longspan::test {

extern const TileKernel kWideLanesKernel{"avx512-as-avx2", 16, attend<16>};

}  // namespace longspan::test

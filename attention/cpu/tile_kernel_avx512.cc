#include "attention/cpu/tile_kernel.inl"

namespace longspan {

extern const TileKernel kAvx512TileKernel{"avx512", 16, attend<16>};

}  // namespace longspan

#include "attention/cpu/tile_kernel.inl"

namespace longspan {

extern const TileKernel kAvx2TileKernel{"avx2", 8, attend<8>};

}  // namespace longspan

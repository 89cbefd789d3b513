#include "attention/cpu/tile_kernel.inl"

namespace longspan {

extern const TileKernel kScalarTileKernel{"scalar", 4, attend<4>};

}  // namespace longspan

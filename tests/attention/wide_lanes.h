// The kernel of wide_lanes.cc.
#pragma once

#include "attention/cpu/tile_kernel.h"

namespace longspan::test {

extern const TileKernel kWideLanesKernel;

}  // namespace longspan::test

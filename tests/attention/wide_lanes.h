// The kernel of wide_lanes.cc.
#pragma once

#include "attention/cpu/compiled_kernels.h"

namespace longspan::test {

extern const CompiledKernels kWideLanesKernels;

}  // namespace longspan::test

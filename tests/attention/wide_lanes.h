// Kernels for wider machines than this one, as far as it can run their logic.
#pragma once

#include "attention/cpu/compiled_kernels.h"

namespace longspan::test {

extern const CompiledKernels kWideLanesKernels;       // AVX-512, with AVX2
extern const CompiledKernels kEmulatedMatrixKernels;  // AMX, with AVX2 and loops

}  // namespace longspan::test

// Which compiled version of the tile kernels runs on this machine.
#pragma once

#include <vector>

#include "attention/cpu/compiled_kernels.h"

namespace longspan {

/// What this machine can run, widest first. Never empty.
std::vector<const CompiledKernels*> supported_kernels();

/// The widest supported, or the one called `name` unless that is null or empty. Throws ConfigError
/// when the machine lacks it or nothing is called so.
const CompiledKernels& choose_kernels(const char* name);

}  // namespace longspan

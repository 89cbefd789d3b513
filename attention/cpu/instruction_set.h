// Which compiled version of the tile kernels runs on this machine.
#pragma once

#include <vector>

#include "attention/cpu/compiled_kernels.h"
#include "attention/precision.h"

namespace longspan {

/// What this machine can run in float32, widest first. Never empty.
std::vector<const CompiledKernels*> supported_kernels();

/// Whether it multiplies matrices of bfloat16 by AMX, and lets this process do so.
bool has_amx();

/// The widest supported for products of this precision, or the one called `name` unless that is
/// null or empty. Without AMX, or where `name` asks for less, all are float32. Throws ConfigError
/// when the machine lacks it or nothing is called so.
const CompiledKernels& choose_kernels(const char* name, Precision precision = Precision::kFloat32);

/// bfloat16 where AMX is, unless `name` asks for less.
Precision fastest_precision(const char* name);

}  // namespace longspan

#include "attention/cpu/instruction_set.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace

std::vector<const CompiledKernels*> supported_kernels() {
  std::vector<const CompiledKernels*> kernels;
  if (has_avx512()) kernels.push_back(&kAvx512Kernels);
  if (has_avx2()) kernels.push_back(&kAvx2Kernels);
  kernels.push_back(&kScalarKernels);
  return kernels;
}

const CompiledKernels& choose_kernels(const char* name) {
  const auto supported = supported_kernels();
  if (name == nullptr || *name == '\0') return *supported.front();
  std::string names;
  for (const CompiledKernels* kernel : supported) {
    if (std::string_view(name) == kernel->name) return *kernel;
    names += names.empty() ? kernel->name : str(", {}", kernel->name);
  }
  throw ConfigError(str("LONGSPAN_CPU_ISA={}: this machine runs {}", name, names));
}

}  // namespace longspan

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

std::vector<const TileKernel*> supported_tile_kernels() {
  std::vector<const TileKernel*> kernels;
  if (has_avx512()) kernels.push_back(&kAvx512TileKernel);
  if (has_avx2()) kernels.push_back(&kAvx2TileKernel);
  kernels.push_back(&kScalarTileKernel);
  return kernels;
}

const TileKernel& choose_tile_kernel(const char* name) {
  const auto supported = supported_tile_kernels();
  if (name == nullptr || *name == '\0') return *supported.front();
  std::string names;
  for (const TileKernel* kernel : supported) {
    if (std::string_view(name) == kernel->name) return *kernel;
    names += names.empty() ? kernel->name : str(", {}", kernel->name);
  }
  throw ConfigError(str("LONGSPAN_CPU_ISA={}: this machine runs {}", name, names));
}

}  // namespace longspan

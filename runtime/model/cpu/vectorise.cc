#include "runtime/model/cpu/vectorise.h"

#include <algorithm>
#include <cstdlib>

namespace longspan {
namespace {

VectorIsa widest_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2) return avx512 ? VectorIsa::kAvx512 : VectorIsa::kAvx2;
#endif
  return VectorIsa::kBaseline;
}

VectorIsa allowed_isa() {
  const char* variable = std::getenv("LONGSPAN_CPU_ISA");
  const std::string_view wish = variable ? variable : "";
  if (wish == "scalar") return VectorIsa::kBaseline;
  if (wish == "avx2") return std::min(widest_isa(), VectorIsa::kAvx2);
  return widest_isa();
}

}  // namespace

std::string_view name(VectorIsa isa) {
  switch (isa) {
    case VectorIsa::kBaseline:
      return "baseline";
    case VectorIsa::kAvx2:
      return "avx2";
    case VectorIsa::kAvx512:
      return "avx512";
  }
  return "?";
}

VectorIsa vector_isa() {
  static const VectorIsa chosen = allowed_isa();
  return chosen;
}

}  // namespace longspan

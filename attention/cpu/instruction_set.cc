#include "attention/cpu/instruction_set.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

/// Tiles are 8 KiB of state a thread, so Linux keeps them for processes that ask. They may from
/// then on, all threads.
bool may_use_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, Linux 5.16
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool is_amx(const char* name) { return name != nullptr && name == std::string_view("amx"); }
bool is_anything(const char* name) { return name == nullptr || *name == '\0'; }

}  // namespace

bool has_amx() {
#if defined(__x86_64__)
  static const bool has = has_avx512() && __builtin_cpu_supports("amx-tile") &&
                          __builtin_cpu_supports("amx-bf16") && may_use_tiles();
  return has;
#else
  return false;
#endif
}

Precision fastest_precision(const char* name) {
  const bool allowed = is_anything(name) || is_amx(name);
  return allowed && has_amx() ? Precision::kBFloat16 : Precision::kFloat32;
}

std::vector<const CompiledKernels*> supported_kernels() {
  std::vector<const CompiledKernels*> kernels;
  if (has_avx512()) kernels.push_back(&kAvx512Kernels);
  if (has_avx2()) kernels.push_back(&kAvx2Kernels);
  kernels.push_back(&kScalarKernels);
  return kernels;
}

const CompiledKernels& choose_kernels(const char* name, Precision precision) {
  const auto supported = supported_kernels();
  if (has_amx() && (is_anything(name) || is_amx(name))) {
    return precision == Precision::kBFloat16 ? kAmxKernels : *supported.front();
  }
  if (is_anything(name)) return *supported.front();
  std::string names = has_amx() ? "amx" : "";
  for (const CompiledKernels* kernel : supported) {
    if (std::string_view(name) == kernel->name) return *kernel;
    names += names.empty() ? kernel->name : str(", {}", kernel->name);
  }
  throw ConfigError(str("LONGSPAN_CPU_ISA={}: this machine runs {}", name, names));
}

}  // namespace longspan

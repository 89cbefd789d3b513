#include "attention/kernels.h"

#include <cstdlib>

#include "attention/cpu/cpu_kernels.h"
#include "attention/cpu/instruction_set.h"

namespace longspan {

std::unique_ptr<AttentionKernels> new_cpu_attention_kernels(const HeadShape& shape, float scale) {
  const CompiledKernels& kernels = choose_kernels(std::getenv("LONGSPAN_CPU_ISA"));
  return std::make_unique<CpuAttentionKernels>(shape, scale, kernels);
}

}  // namespace longspan

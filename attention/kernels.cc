#include "attention/kernels.h"

#include <cstdlib>

#include "attention/cpu/cpu_kernels.h"
#include "attention/cpu/instruction_set.h"

namespace longspan {

std::unique_ptr<AttentionKernels> new_cpu_attention_kernels(const HeadShape& shape, float scale) {
  const TileKernel& kernel = choose_tile_kernel(std::getenv("LONGSPAN_CPU_ISA"));
  return std::make_unique<CpuAttentionKernels>(shape, scale, kernel);
}

}  // namespace longspan

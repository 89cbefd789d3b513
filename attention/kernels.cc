#include "attention/kernels.h"

#include <cstdlib>
#include <utility>

#include "attention/cpu/cpu_kernels.h"
#include "attention/cpu/instruction_set.h"
#include "attention/head_dim.h"
#include "comm/error.h"
#ifdef LONGSPAN_WITH_CUDA
#include "attention/cuda/cuda_kernels.h"
#endif

namespace longspan {

void AttentionKernels::attend_whole(Stream& stream, const QueryRows& rows,
                                    std::vector<ArrivingSegments> sources, RunningState state,
                                    bool /*beside_kernels*/) {
  const std::int64_t count = std::ssize(rows.positions);
  reset(stream, state, count);
  for (ArrivingSegments& source : sources) {
    stream.wait(source.arrived);
    attend(stream, rows, std::move(source.segments), state);
  }
  finish(stream, state, {state.acc, state.m}, count);
}

void expects_supported(const HeadShape& shape) {
  expects(shape.kv_heads >= 1 && shape.group() >= 1 && shape.lead >= 0 &&
              shape.readers(0).count >= 1 &&
              (shape.query_heads - 1 + shape.lead) / shape.group() == shape.kv_heads - 1,
          "every query head has a KV head, and every KV head a reader");
  expects(shape.head_dim >= kLeastHeadDim && shape.head_dim <= kMostHeadDim &&
              shape.head_dim % kHeadDimStep == 0,
          "head_dim is a multiple of 8 from 16 to 256");
}

std::unique_ptr<AttentionKernels> new_cpu_attention_kernels(const HeadShape& shape, float scale,
                                                            Precision precision) {
  const CompiledKernels& kernels = choose_kernels(std::getenv("LONGSPAN_CPU_ISA"), precision);
  return std::make_unique<CpuAttentionKernels>(shape, scale, kernels);
}

Precision fastest_cpu_precision() { return fastest_precision(std::getenv("LONGSPAN_CPU_ISA")); }

#ifdef LONGSPAN_WITH_CUDA
std::unique_ptr<AttentionKernels> new_cuda_attention_kernels(Device& device, const HeadShape& shape,
                                                             float scale, Precision precision) {
  return new_chosen_cuda_kernels(device, shape, scale, std::getenv("LONGSPAN_ATTENTION_KERNEL"),
                                 precision);
}
#else
std::unique_ptr<AttentionKernels> new_cuda_attention_kernels(Device& /*device*/,
                                                             const HeadShape& /*shape*/,
                                                             float /*scale*/,
                                                             Precision /*precision*/) {
  throw ConfigError("this build has no CUDA kernels; configure with -DLONGSPAN_WITH_CUDA=ON");
}
#endif

}  // namespace longspan

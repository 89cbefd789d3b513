// Which devices' operations this build has.
#include "runtime/model/ops.h"

#include <cstdlib>

#include "comm/error.h"
#ifdef LONGSPAN_WITH_CUDA
#include "runtime/model/cuda/cuda_model_ops.h"
#endif

namespace longspan {

void ModelOps::normed_matmul(Stream& stream, const float* x, std::int64_t rows,
                             const NormWeight& norm, const MatrixSlice& w, float* normed,
                             float* out) {
  rms_norm(stream, x, rows, norm, normed);
  matmul_slice(stream, normed, rows, w, out, Output::kOverwrite);
}

void ModelOps::feed_forward(Stream& stream, const float* x, std::int64_t rows,
                            const FeedForward& layer, const FeedForwardMemory& memory, float* out,
                            Output output) {
  const std::int64_t values = rows * layer.columns.count;
  if (layer.is_whole()) {
    normed_matmul(stream, x, rows, layer.norm, whole(layer.gate_up), memory.normed, memory.gate_up);
    glu(stream, memory.gate_up, rows, layer.columns.count, layer.activation, memory.active);
  } else {
    rms_norm(stream, x, rows, layer.norm, memory.normed);
    matmul_slice(stream, memory.normed, rows, layer.gate(), memory.gate_up, Output::kOverwrite);
    matmul_slice(stream, memory.normed, rows, layer.up(), memory.gate_up + values,
                 Output::kOverwrite);
    // Gates of all rows, then their ups: value by value that is one long row.
    glu(stream, memory.gate_up, 1, static_cast<int>(values), layer.activation, memory.active);
  }
  matmul_slice(stream, memory.active, rows, slice_inputs(layer.down, layer.columns), out, output);
}

#ifdef LONGSPAN_WITH_CUDA
std::unique_ptr<ModelOps> new_cuda_model_ops(Device& device, Precision precision) {
  return make_cuda_model_ops(device, precision, std::getenv("LONGSPAN_SCORES"));
}
#else
std::unique_ptr<ModelOps> new_cuda_model_ops(Device& /*device*/, Precision /*precision*/) {
  throw ConfigError("this build has no CUDA operations; configure with -DLONGSPAN_WITH_CUDA=ON");
}
#endif

}  // namespace longspan

// Which devices' operations this build has.
#include "runtime/model/ops.h"

#include <cstdlib>

#include "comm/error.h"
#ifdef LONGSPAN_WITH_CUDA
#include "runtime/model/cuda/cuda_model_ops.h"
#endif

namespace longspan {

void ModelOps::normed_matmul(Stream& stream, const float* x, std::int64_t rows,
                             const NormWeight& norm, const PackedMatrix& w, float* normed,
                             float* out) {
  rms_norm(stream, x, rows, norm, normed);
  matmul(stream, normed, rows, w, out, Output::kOverwrite);
}

void ModelOps::feed_forward(Stream& stream, const float* x, std::int64_t rows,
                            const FeedForward& layer, const FeedForwardMemory& memory, float* out,
                            Output output) {
  normed_matmul(stream, x, rows, layer.norm, layer.gate_up, memory.normed, memory.gate_up);
  glu(stream, memory.gate_up, rows, layer.down.layout->inputs(), layer.activation, memory.active);
  matmul(stream, memory.active, rows, layer.down, out, output);
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

// Which devices' operations this build has.
#include "runtime/model/ops.h"

#include "comm/error.h"
#ifdef LONGSPAN_WITH_CUDA
#include "runtime/model/cuda/cuda_model_ops.h"
#endif

namespace longspan {

#ifdef LONGSPAN_WITH_CUDA
std::unique_ptr<ModelOps> new_cuda_model_ops(Device& device, Precision precision) {
  return make_cuda_model_ops(device, precision);
}
#else
std::unique_ptr<ModelOps> new_cuda_model_ops(Device& /*device*/, Precision /*precision*/) {
  throw ConfigError("this build has no CUDA operations; configure with -DLONGSPAN_WITH_CUDA=ON");
}
#endif

}  // namespace longspan

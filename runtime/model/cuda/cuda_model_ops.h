// ModelOps on CUDA streams.
#pragma once

#include <memory>

#include "attention/precision.h"
#include "comm/device.h"
#include "runtime/model/ops.h"

namespace longspan {

/// See new_cuda_model_ops() in ops.h, which programs use. `scores`: where rows of logits are looked
/// through, gpu (or null) or host; throws ConfigError at any other word.
std::unique_ptr<ModelOps> make_cuda_model_ops(Device& device, Precision precision,
                                              const char* scores = nullptr);

}  // namespace longspan

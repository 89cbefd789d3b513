// Made-up weights, for measuring without a model's files.
#pragma once

#include "comm/device.h"
#include "runtime/model/model_config.h"
#include "runtime/model/weight_plan.h"

namespace longspan {

/// Enqueues: matrices, table and biases become random numbers of up to 0.03 in magnitude, as
/// float32 and as bfloat16, and norms ones. `block`: of the device, as `plan` lays it out for
/// `config`, the configuration of the rank's part. Returns when that has run.
void fill_with_dummies(Device& device, const ModelConfig& config, const WeightPlan& plan,
                       Bytes block);

}  // namespace longspan

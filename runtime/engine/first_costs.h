// What a step of a model should cost, before any was done: the guess that StepCostFit begins with.
//
// The order of magnitude is enough, and the shape: how products, attention and reading compare.
#pragma once

#include <cstdint>

#include "attention/machine_rates.h"
#include "runtime/model/model_config.h"
#include "scheduler/step_cost_fit.h"

namespace longspan {

/// `config`: of what one rank holds, in `weight_bytes`. Products are taken to be as fast as
/// attention of many rows, and memory as copies of pages.
StepCosts first_costs(const ModelConfig& config, std::int64_t weight_bytes, int degree,
                      const MachineRates& rates);

}  // namespace longspan

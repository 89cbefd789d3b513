// How the steps of a run follow from its plan and from what was sampled: whoever knows these knows
// the next step, without a plan.
#pragma once

#include <span>

#include "scheduler/step_plan.h"

namespace longspan {

/// Makes `plan`, a step of `run`, the step behind it, given what it sampled: rows that ended are
/// gone, the others are one position on. False where there is no step behind it. Throws
/// std::logic_error where a row has sampled nothing.
[[nodiscard]] bool step_on(StepPlan& plan, DecodeRun& run, std::span<const SampledToken> sampled);

}  // namespace longspan

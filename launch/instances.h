// --tp: how the job's ranks form instances, checked against the launcher and the model.
#pragma once

#include "runtime/model/model_config.h"

namespace longspan {

/// How many instances of `tp` ranks `ranks` ranks are. Throws UsageError, with numbers that would
/// do, when some are left over.
int count_instances(int tp, int ranks);

/// Throws UsageError, with the values that would do, unless `tp` ranks can hold the model together.
void expect_usable_tp(int tp, const ModelConfig& model);

}  // namespace longspan

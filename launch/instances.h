// --tp: how the job's ranks form instances, checked against the launcher and the model.
#pragma once

#include "attention/approximation.h"
#include "runtime/model/model_config.h"

namespace longspan {

/// Throws UsageError, with the values that would do, unless `tp` ranks can hold the model together.
void expect_usable_tp(int tp, const ModelConfig& model);

/// How many instances of `tp` ranks, which can hold the model, `ranks` ranks are. Throws
/// UsageError, with numbers that would do, when some are left over.
int count_instances(int tp, int ranks, const ModelConfig& model);

/// Throws UsageError, with what would do, where several ranks would choose keys for one key/value
/// head, each by its own query heads: the answer would depend on `tp`.
void expect_whole_choices(int tp, const ModelConfig& model, const Approximation& attention);

}  // namespace longspan

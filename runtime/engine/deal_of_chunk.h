// The scheduler's words for a layout in those of attention, which the scheduler may not include.
#pragma once

#include "attention/shard_layout.h"
#include "scheduler/step_plan.h"

namespace longspan {

DealtBy dealt_by(Layout layout);
/// Throws CommError for a value that is none.
Layout layout_of(DealtBy dealt);

/// How the chunk's group divides its rows.
Deal deal_of(const PrefillChunk& chunk);

}  // namespace longspan

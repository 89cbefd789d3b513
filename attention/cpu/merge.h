// The one merge of partials: log-sum-exp over sources, in the order given.
#pragma once

#include <cstdint>
#include <span>

#include "attention/partial.h"
#include "attention/segment.h"

namespace longspan {

/// O and lse of an empty partial when l == 0, else acc / l and m + ln l. `at`: row and head.
void normalise(const RunningState& state, Partial out, std::int64_t at, int head_dim);

/// out = merge of the sources for one row and head, `at`. A source whose lse is NaN or +inf counts
/// as empty; the result is how many were. `out` may be one of the sources.
std::int64_t merge_at(std::span<const Partial> sources, Partial out, std::int64_t at, int head_dim);

}  // namespace longspan

// The begin and the end of a running softmax.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/partial.h"

namespace longspan {

/// acc = 0, m = -inf, l = 0 for `items` pairs of row and head.
void launch_reset(RunningState state, std::int64_t items, int head_dim, cudaStream_t stream);
/// O = acc / l and lse = m + ln l, or 0 and -inf where l = 0. `out` may use the memory of acc and
/// m.
void launch_finish(RunningState state, Partial out, std::int64_t items, int head_dim,
                   cudaStream_t stream);

}  // namespace longspan

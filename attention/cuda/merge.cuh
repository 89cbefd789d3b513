// The merge of one row and head, by one warp: what merging partials and the splits of a decode row
// have in common.
#pragma once

#include <cstdint>

#include "attention/cuda/warp.cuh"
#include "attention/partial.h"

namespace longspan {

__device__ inline bool is_bad(float lse) { return isnan(lse) || lse == INFINITY; }

/// What a source counts for beside one with the largest lse, `top`.
__device__ inline float merge_weight(float lse, float top) {
  return is_bad(lse) || lse == -INFINITY ? 0.0f : expf(lse - top);
}

/// out = source(0), source(1), ... merged in this order by log-sum-exp (natural), for the row and
/// head `at`. A source whose lse is NaN or +inf counts as empty; the result is how many were. `out`
/// may be one of the sources. The whole warp calls.
template <typename Source>
__device__ int merge_at(const Source& source, std::int64_t sources, Partial out, std::int64_t at,
                        int head_dim) {
  float top = -INFINITY;
  int bad = 0;
  std::int64_t filled = 0, last_filled = 0;
  for (std::int64_t i = 0; i < sources; ++i) {
    const float lse = source(i).lse[at];
    bad += is_bad(lse);
    if (is_bad(lse) || lse == -INFINITY) continue;
    top = fmaxf(top, lse);
    ++filled;
    last_filled = i;
  }

  float lse = -INFINITY, denominator = 0.0f;
  if (filled == 1) lse = source(last_filled).lse[at];
  if (filled > 1) {
    for (std::int64_t i = 0; i < sources; ++i) {
      denominator += merge_weight(source(i).lse[at], top);
    }
    lse = top + logf(denominator);
  }

  const int lane = threadIdx.x % kWarp;
  for (int d = lane; d < head_dim; d += kWarp) {
    const std::int64_t value = at * head_dim + d;
    float o = 0.0f;
    if (filled == 1) {  // arithmetic would give the same but for the sign of zeros
      o = source(last_filled).o[value];
    } else if (filled > 1) {
      for (std::int64_t i = 0; i < sources; ++i) {
        const float weight = merge_weight(source(i).lse[at], top);
        // An empty source may hold NaN, and 0 * NaN is NaN.
        if (weight != 0.0f) o = fmaf(weight, source(i).o[value], o);
      }
      o /= denominator;
    }
    out.o[value] = o;
  }
  __syncwarp();  // `out` may be a source whose lse the other lanes are still reading
  if (lane == 0) out.lse[at] = lse;
  return bad;
}

}  // namespace longspan

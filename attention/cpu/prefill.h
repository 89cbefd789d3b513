// Many query rows against segments of keys: FlashAttention-2 over row tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/cpu/workspace.h"
#include "attention/partial.h"
#include "attention/segment.h"

namespace longspan {

struct Prefill {
  HeadShape shape;
  float scale;
  const float* q;                       // (rows, query_heads, head_dim)
  std::vector<std::int64_t> positions;  // of the rows
  std::vector<KvSegment> segments;
  RunningState state;
};

/// Folds the segments into the state, on `threads` threads.
void run_prefill(const Prefill& prefill, Workspace& workspace, int threads);

}  // namespace longspan

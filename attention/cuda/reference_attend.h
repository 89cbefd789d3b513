// Many query rows against segments of keys, in float: the kernel that is right on any shape, and
// against which faster ones are tested.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/partial.h"
#include "attention/segment.h"

namespace longspan {

/// Everything lies on the GPU.
struct ReferenceAttend {
  HeadShape shape;
  float scale;
  const float* q;                 // (rows, query_heads, head_dim)
  const std::int64_t* positions;  // (rows)
  std::int64_t rows;
  const KvSegment* segments;  // (segment_count)
  std::int64_t segment_count;
  RunningState state;
};

/// Once before the first launch at a head_dim: lets the kernel use the shared memory it needs.
/// Throws DeviceError where a GPU has less.
void prepare_reference_attend(int head_dim);
/// Folds the segments into the state, in list order.
void launch_reference_attend(const ReferenceAttend& work, cudaStream_t stream);

}  // namespace longspan

// Turning queries and keys on the GPU, and storing keys and values where attention reads them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "runtime/model/ops.h"

namespace longspan {

/// Cosines and sines as RopeTable::angles() gives them, in double. Everything lies on the GPU.
struct RopeAngles {
  const std::int64_t* positions;  // (rows)
  std::int64_t rows;
  const double* frequencies;  // (half)
  int half;
  int turned;  // of them
  double scale;
  float* out;  // (rows, 2 half)
};

void launch_rope_angles(const RopeAngles& work, cudaStream_t stream);

/// q_out (rows, query_heads, head_dim), `targets` (count) and their tables are on the GPU;
/// `most_rows`: of the longest target. Views are float32, float16 or bfloat16.
void launch_turn_and_store(const QkvRows& rows, float* q_out, const KvTarget* targets,
                           std::int64_t count, std::int64_t most_rows, cudaStream_t stream);

}  // namespace longspan

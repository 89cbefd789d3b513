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

/// q_out (rows, query_heads, head_dim), everything on the GPU.
void launch_turn_queries(const QkvRows& rows, float* q_out, cudaStream_t stream);

/// `targets` (count), on the GPU, and so are their tables; `most_rows`: of the longest of them.
/// Views are float32, float16 or bfloat16.
void launch_store_kv(const QkvRows& rows, const KvTarget* targets, std::int64_t count,
                     std::int64_t most_rows, cudaStream_t stream);

}  // namespace longspan

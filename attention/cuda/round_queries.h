// Queries as matrix units take them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace longspan {

/// `count` values, an even number, from float32 to bfloat16, to the nearest, ties to even; and
/// *zeroed = 0.
void launch_round_queries(const float* from, std::int64_t count, void* to,
                          unsigned long long* zeroed, cudaStream_t stream);

}  // namespace longspan

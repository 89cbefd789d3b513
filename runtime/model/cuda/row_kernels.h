// What is done to the rows of activations one by one, on the GPU. Everything lies there; sums are
// taken in an order that only the width decides.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"

namespace longspan {

/// out (rows, hidden) = rows of the table: float32, float16 or bfloat16.
void launch_embed(const Embedding& embedding, const TokenId* tokens, std::int64_t rows, float* out,
                  cudaStream_t stream);
/// `out` may be `x`.
void launch_rms_norm(const float* x, std::int64_t rows, const NormWeight& norm, float* out,
                     cudaStream_t stream);
/// The same, `out` in bfloat16: (rows, hidden).
void launch_rms_norm(const float* x, std::int64_t rows, const NormWeight& norm, std::uint16_t* out,
                     cudaStream_t stream);
/// out += parts[0] + parts[1] + ..., in this order.
void launch_add_sum(const float* const* parts, std::int64_t count, std::int64_t values, float* out,
                    cudaStream_t stream);
/// gate_up (rows, 2 ffn): gate first.
void launch_glu(const float* gate_up, std::int64_t rows, int ffn, Activation activation, float* out,
                cudaStream_t stream);
/// The same in bfloat16, computed in float32; ffn is a multiple of 8, and memory begins at
/// multiples of 16 bytes.
void launch_glu(const std::uint16_t* gate_up, std::int64_t rows, int ffn, Activation activation,
                std::uint16_t* out, cudaStream_t stream);
/// out[i] = x[rows[i]].
void launch_gather_rows(const float* x, int width, const std::int64_t* rows, std::int64_t count,
                        float* out, cudaStream_t stream);

}  // namespace longspan

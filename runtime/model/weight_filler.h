// Reads a model file into the block that a WeightPlan describes.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/weight_plan.h"

namespace longspan {

/// Called with bytes of the file, from one thread at a time.
using LoadProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Fills everything but the block's header with `part` of the model; returns the bytes of the file
/// that took. `plan` is that of the part. Of a matrix cut by inputs whole rows are read. Each of
/// `threads` threads reads, dequantises and packs one panel of a matrix at a time, and needs memory
/// for no more than that. Throws DataError naming the tensor that holds a NaN or an infinity, and
/// what reading throws.
std::uint64_t fill_weights(const GgufFile& file, const ModelConfig& whole, const ModelPart& part,
                           const WeightPlan& plan, Bytes block, int threads,
                           const LoadProgress& progress);

/// Where row `row` of a query or key projection in half-split order lies in a llama-type GGUF.
///
/// The file's rows are in the order in which RoPE turns neighbours: dimension pairs (0, 1), (2, 3),
/// ... of a head. Half-split RoPE turns dimension i with i + head_dim/2, so i is the file's 2i and
/// i + head_dim/2 its 2i + 1.
std::int64_t interleaved_row(std::int64_t row, int head_dim);

}  // namespace longspan

// Reads a model file into the block that a WeightPlan describes.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/model/model_config.h"
#include "runtime/model/tensor_file.h"
#include "runtime/model/weight_plan.h"

namespace longspan {

/// Called with bytes of the file, from one thread at a time.
using LoadProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Fills everything but the block's header with `part` of the model; returns the bytes of the file
/// that took. `plan` is that of the part. Of a matrix cut by inputs whole rows are read. Each of
/// `threads` threads reads, dequantises and packs one panel of a matrix at a time, and needs memory
/// for no more than that. Throws DataError naming the tensor that holds a NaN or an infinity, and
/// what reading throws.
std::uint64_t fill_weights(const TensorFile& file, const ModelConfig& whole, const ModelPart& part,
                           const WeightPlan& plan, Bytes block, int threads,
                           const LoadProgress& progress);

}  // namespace longspan

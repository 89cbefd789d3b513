// Products of a few rows by matrices in bfloat16: whoever decodes reads all weights for them.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/model/cuda/matrix_kernels.h"

namespace longspan {

/// From more rows on matrix units are worth their preparations.
inline constexpr int kFewRows = 4;

/// bfloat16, 1 to kFewRows rows, and rows of both factors at multiples of 16 bytes.
bool is_few_rows(const MatrixProduct& work);

/// Such a product, reading w once. A row's bits do not depend on how many rows there are.
void launch_few_rows(const MatrixProduct& work, cudaStream_t stream);

}  // namespace longspan

// What products need besides cuBLASLt: activations narrowed, and a product of any shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace longspan {

/// x (rows, width) to bfloat16, to the nearest, ties to even: out (rows, width), rows `stride`
/// values apart.
void launch_narrow_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t stride,
                        std::uint16_t* out, cudaStream_t stream);

/// One product on the GPU: out (rows, outputs) = x w^T, or is added to. x and w are both float32 or
/// both bfloat16; their rows lie x_stride and w_stride values apart, those of out end to end. `out`
/// is float32, or bfloat16 where it is narrow, which is not added to.
struct MatrixProduct {
  const void* x;
  const void* w;
  void* out;
  std::int64_t rows;
  int outputs;
  int inputs;
  std::int64_t x_stride;
  std::int64_t w_stride;
  bool is_bfloat16;
  bool accumulates;
  bool is_out_narrow = false;
};

/// A warp per value of the result: right at any shape and alignment, and slow.
void launch_plain_product(const MatrixProduct& work, cudaStream_t stream);

}  // namespace longspan

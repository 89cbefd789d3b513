// Weight matrices as cuBLASLt multiplies by them: row by row, in float32 or bfloat16, each row
// padded so that all begin at multiples of 16 bytes.
#pragma once

#include <cstdint>

#include "attention/precision.h"
#include "runtime/model/ops.h"

namespace longspan {

/// Values per row of a matrix on the GPU whose rows begin at multiples of 16 bytes.
constexpr std::int64_t padded_row(std::int64_t values, Precision precision) {
  const std::int64_t step = precision == Precision::kBFloat16 ? 8 : 4;
  return (values + step - 1) / step * step;
}

class CudaMatrixLayout final : public MatrixLayout {
 public:
  CudaMatrixLayout(int outputs, int inputs, Precision precision)
      : outputs_(outputs), inputs_(inputs), precision_(precision) {}

  int outputs() const override { return outputs_; }
  int inputs() const override { return inputs_; }
  std::size_t bytes() const override { return outputs_ * row_bytes(); }
  std::uint64_t digest() const override;
  int panel_rows() const override { return 256; }
  /// Into host memory, from where it is copied to the GPU.
  void pack(const float* w, int first_row, int rows, Bytes packed) const override;

  Precision precision() const { return precision_; }
  int value_bytes() const { return precision_ == Precision::kBFloat16 ? 2 : 4; }
  /// Values from one row to the next.
  std::int64_t stride() const { return padded_row(inputs_, precision_); }
  std::size_t row_bytes() const { return stride() * value_bytes(); }

 private:
  int outputs_;
  int inputs_;
  Precision precision_;
};

}  // namespace longspan

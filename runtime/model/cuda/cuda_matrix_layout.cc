#include "runtime/model/cuda/cuda_matrix_layout.h"

#include <cstring>

#include "runtime/model/cpu/vector_kernels.h"

namespace longspan {

std::uint64_t CudaMatrixLayout::digest() const {
  constexpr std::uint64_t kKind = 0x63756461;  // no layout of another device has it
  return (kKind << 32 | static_cast<std::uint64_t>(value_bytes())) * 0x100000001b3u ^
         static_cast<std::uint64_t>(stride());
}

void CudaMatrixLayout::pack(const float* w, int first_row, int rows, Bytes packed) const {
  for (int row = 0; row < rows; ++row) {
    const float* from = w + std::int64_t{row} * inputs_;
    std::byte* to = packed.data() + (first_row + row) * row_bytes();
    if (precision_ == Precision::kBFloat16) {
      narrow_row(from, inputs_, reinterpret_cast<std::uint16_t*>(to));
    } else {
      std::memcpy(to, from, inputs_ * sizeof(float));
    }
    const std::size_t used = static_cast<std::size_t>(inputs_) * value_bytes();
    std::memset(to + used, 0, row_bytes() - used);
  }
}

}  // namespace longspan

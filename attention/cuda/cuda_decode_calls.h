// AttentionKernels::decode() and merge() on CUDA streams: which kernel takes a row, and what it is
// given.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "attention/cuda/call_memory.h"
#include "attention/cuda/decode_mma.h"
#include "attention/kernels.h"

namespace longspan {

class CudaDecodeCalls {
 public:
  /// Of heads that kernels support; `by_mma`: where the shape allows it. Borrows the memory; its
  /// device is the current one, then and whenever a call is made.
  CudaDecodeCalls(CudaCallMemory& memory, const HeadShape& shape, float scale, bool by_mma);

  void decode(std::vector<DecodeRow> rows, CudaStream& to);
  void merge(const std::vector<Partial>& partials, Partial out, std::int64_t rows, CudaStream& to);
  /// As AttentionKernels counts them.
  std::int64_t bad_lse_total() const;

 private:
  void decode_reference(std::vector<DecodeRow> rows, CudaStream& to);
  /// Rows that fit splits.
  void decode_mma(std::span<const DecodeRow> rows, CudaStream& to);

  CudaCallMemory& memory_;
  HeadShape shape_;
  float scale_;
  std::optional<MmaDecodeGrid> mma_;
  Buffer bad_lse_;  // a counter on the GPU: not every one may count in host memory
};

}  // namespace longspan

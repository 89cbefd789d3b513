// AttentionKernels on CUDA streams.
#pragma once

#include <memory>

#include "attention/cuda/call_memory.h"
#include "attention/cuda/cuda_decode_calls.h"
#include "attention/cuda/cuda_prefill_calls.h"
#include "attention/cuda/kernel_choice.h"
#include "attention/kernels.h"

namespace longspan {

class CudaAttentionKernels final : public AttentionKernels {
 public:
  /// `device`, a CudaDevice, outlives this, and this every stream it enqueued on.
  CudaAttentionKernels(Device& device, const HeadShape& shape, float scale,
                       const KernelChoice& choice = {});
  /// On the memory's device, which is the current one.
  CudaAttentionKernels(std::shared_ptr<CudaCallMemory> memory, const HeadShape& shape, float scale,
                       const KernelChoice& choice);

  const HeadShape& shape() const override { return shape_; }
  std::string_view isa() const override;
  std::int64_t bad_lse_total() const override;
  std::unique_ptr<AttentionKernels> for_heads(const HeadShape& shape) const override;

  KvType new_columns(KvType pages) const override;
  void reset(Stream& stream, RunningState state, std::int64_t rows) override;
  void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
              RunningState state) override;
  void attend_whole(Stream& stream, const QueryRows& rows, std::vector<ArrivingSegments> sources,
                    RunningState state, bool beside_kernels) override;
  void finish(Stream& stream, RunningState state, Partial out, std::int64_t rows) override;
  /// Streams that decode at the same time take turns, those of other slices too.
  void decode(Stream& stream, std::vector<DecodeRow> rows) override;
  void merge(Stream& stream, std::vector<Partial> partials, Partial out,
             std::int64_t rows) override;
  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override;

 private:
  CudaStream& native(Stream& stream) const;

  std::shared_ptr<CudaCallMemory> memory_;
  HeadShape shape_;
  float scale_;
  KernelChoice choice_;
  CudaPrefillCalls prefill_;
  CudaDecodeCalls decode_;
};

/// As `word`, which may be null, chooses: see choose_kernel().
std::unique_ptr<AttentionKernels> new_chosen_cuda_kernels(Device& device, const HeadShape& shape,
                                                          float scale, const char* word,
                                                          Precision precision);

}  // namespace longspan

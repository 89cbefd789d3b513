// AttentionKernels on CUDA streams.
#pragma once

#include "attention/cuda/descriptor_pool.h"
#include "attention/cuda/scratch.h"
#include "attention/kernels.h"
#include "comm/cuda/cuda_device.h"

namespace longspan {

class CudaAttentionKernels final : public AttentionKernels {
 public:
  /// `device`, a CudaDevice, outlives this, and this every stream it enqueued on.
  CudaAttentionKernels(Device& device, const HeadShape& shape, float scale);

  const HeadShape& shape() const override { return shape_; }
  std::string_view isa() const override { return "cuda reference"; }
  std::int64_t bad_lse_total() const override;

  void reset(Stream& stream, RunningState state, std::int64_t rows) override;
  void attend(Stream& stream, const QueryRows& rows, std::vector<KvSegment> segments,
              RunningState state) override;
  void finish(Stream& stream, RunningState state, Partial out, std::int64_t rows) override;
  /// Streams that decode at the same time take turns.
  void decode(Stream& stream, std::vector<DecodeRow> rows) override;
  void merge(Stream& stream, std::vector<Partial> partials, Partial out,
             std::int64_t rows) override;
  void copy_kv(Stream& stream, std::vector<KvCopy> copies) override;

 private:
  cudaStream_t native(Stream& stream) const;

  CudaDevice& device_;
  HeadShape shape_;
  float scale_;
  Buffer bad_lse_;  // pinned; kernels count here
  DescriptorPool descriptors_;
  Scratch splits_;
};

}  // namespace longspan

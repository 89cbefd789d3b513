// AttentionKernels on CUDA streams.
#pragma once

#include <memory>
#include <optional>

#include "attention/cuda/arrivals.h"
#include "attention/cuda/decode_mma.h"
#include "attention/cuda/descriptor_pool.h"
#include "attention/cuda/kernel_choice.h"
#include "attention/cuda/prefill_plan.h"
#include "attention/cuda/shared_scratch.h"
#include "attention/kernels.h"
#include "comm/cuda/cuda_device.h"

namespace longspan {

/// What calls need while they run. Kernels for several slices of heads share one.
struct CudaCallMemory {
  /// Borrows the device, which must be the current one.
  explicit CudaCallMemory(CudaDevice& gpu);

  CudaDevice& device;
  DescriptorPool descriptors;
  SharedScratch splits;
  SharedScratch queries;  // rounded, behind the counter of tiles
  SharedScratch keys;     // of float32, rounded
  Arrivals arrivals;
  int multiprocessors;
};

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
  /// In one launch, if the kernel is Hopper's and need not round the keys first.
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
  void attend_reference(const QueryRows& rows, std::vector<KvSegment> segments, RunningState state,
                        CudaStream& to);
  /// `arrivals`: of each segment, counts for which its tiles wait; none: they are all there.
  void attend_tiles(const QueryRows& rows, const std::vector<KvSegment>& segments,
                    const std::vector<std::uint64_t>& arrivals, RunningState state, CudaStream& to);
  /// Enqueues the rounding of float32 segments into `memory`, and shows them there.
  std::vector<KvSegment> rounded(Stream& stream, std::vector<KvSegment> segments, float* memory);
  /// Of segments with no more views than one launch knows. `is_whole`: see PrefillSm90.
  void launch_tiles(const QueryRows& rows, PrefillPlan plan, std::span<const KvSegment> segments,
                    std::span<const std::uint64_t> arrivals, RunningState state, bool is_whole,
                    CudaStream& to);

  void decode_reference(std::vector<DecodeRow> rows, CudaStream& to);
  /// Rows that fit splits.
  void decode_mma(std::span<const DecodeRow> rows, CudaStream& to);

  std::shared_ptr<CudaCallMemory> memory_;
  HeadShape shape_;
  float scale_;
  KernelChoice choice_;
  PrefillKernel prefill_;                    // that the shape allows
  std::optional<MmaDecodeGrid> mma_decode_;  // where the choice and the shape allow it
  Buffer bad_lse_;  // a counter on the GPU: not every one may count in host memory
};

/// As `word`, which may be null, chooses: see choose_kernel().
std::unique_ptr<AttentionKernels> new_chosen_cuda_kernels(Device& device, const HeadShape& shape,
                                                          float scale, const char* word,
                                                          Precision precision);

}  // namespace longspan

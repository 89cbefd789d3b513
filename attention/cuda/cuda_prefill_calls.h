// AttentionKernels::attend() and attend_whole() on CUDA streams: which kernel takes a call, and
// what it is given.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/call_memory.h"
#include "attention/cuda/kernel_choice.h"
#include "attention/cuda/prefill_plan.h"
#include "attention/kernels.h"

namespace longspan {

class CudaPrefillCalls {
 public:
  /// Of heads that kernels support. Borrows the memory; its device is the current one, then and
  /// whenever a call is made.
  CudaPrefillCalls(CudaCallMemory& memory, const HeadShape& shape, float scale,
                   const KernelChoice& choice);

  /// That the shape allows.
  PrefillKernel kernel() const { return kernel_; }
  bool rounds_keys() const;

  void reset(RunningState state, std::int64_t rows, CudaStream& to);
  void attend(const QueryRows& rows, std::vector<KvSegment> segments, RunningState state,
              CudaStream& to);
  void finish(RunningState state, Partial out, std::int64_t rows, CudaStream& to);

  /// Whether attend_whole() takes such a call: if the kernel is Hopper's, need not round the keys
  /// first, and may begin before all of them are there.
  bool takes_whole(const std::vector<ArrivingSegments>& sources, bool beside_kernels) const;
  /// In one launch, if that knows as many views.
  void attend_whole(const QueryRows& rows, std::vector<ArrivingSegments> sources,
                    RunningState state, CudaStream& to);

 private:
  /// What is folded into a state.
  struct Fold {
    const QueryRows& rows;
    std::span<const KvSegment> segments;
    std::span<const std::uint64_t> arrivals;  // counts for which each one's tiles wait; or none
    RunningState state;
  };

  void attend_reference(const Fold& fold, CudaStream& to);
  void attend_tiles(Fold fold, CudaStream& to);
  /// Of segments with no more views than one launch knows. `is_whole`: see PrefillSm90.
  void launch_tiles(const Fold& fold, PrefillPlan plan, bool is_whole, CudaStream& to);
  /// The plan's tiles among the descriptors.
  PrefillTiles described(const Fold& fold, PrefillPlan& plan, Descriptors& descriptors) const;
  /// Enqueues the rounding of float32 segments into `memory`, and shows them there.
  std::vector<KvSegment> rounded(std::vector<KvSegment> segments, float* memory, CudaStream& to);

  CudaCallMemory& memory_;
  HeadShape shape_;
  float scale_;
  KernelChoice choice_;
  PrefillKernel kernel_;
};

}  // namespace longspan

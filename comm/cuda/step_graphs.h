// Steps of decode as CUDA graphs: hundreds of short kernels that are launched as one, so that the
// GPU does not wait between them.
//
//   host     goes through the step, launching nothing | as one seen before
//   stream                                            | copy of descriptions - graph      time -->
//
// A step that is like none before is launched as ever, which finds its kernels; the second one like
// it is captured. Steps are alike if every launch has the same kernel and arguments (LaunchRecord),
// so what is replayed is what would have been launched. Numbers of rows that were not seen, and
// tables that outgrow their places, make new graphs; the oldest ones make room for them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "comm/cuda/launch_record.h"
#include "comm/cuda/reusable_event.h"
#include "comm/device.h"

namespace longspan {

class StepGraphs {
 public:
  /// Of one stream. Allocates from the device, which is current.
  explicit StepGraphs(Device& device);
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  /// Enqueues on `stream` what `enqueue` does, which it calls once or twice.
  void run(cudaStream_t stream, const std::function<void()>& enqueue);
  /// Where a launch is noted now; null: it is launched as ever.
  LaunchRecord* record() const { return recording_ ? record_.get() : nullptr; }

  /// For tests: steps that were replayed.
  std::int64_t replays() const { return replays_; }

 private:
  struct Step {
    cudaGraphExec_t graph = nullptr;  // null: seen once
    std::uint64_t last_used = 0;
  };

  bool go_through(const std::function<void()>& enqueue);
  cudaGraphExec_t capture(cudaStream_t stream, const std::function<void()>& enqueue);
  void launch(cudaStream_t stream, cudaGraphExec_t graph);
  void forget_oldest(cudaStream_t stream);
  void give_up(const char* why);

  Buffer host_, device_;
  std::unique_ptr<LaunchRecord> record_;
  bool recording_ = false;
  bool usable_ = true;
  ReusableEvent sent_;                   // descriptions: the host may write them anew
  std::map<std::uint64_t, Step> steps_;  // by digest
  std::uint64_t runs_ = 0;
  std::int64_t replays_ = 0;
};

}  // namespace longspan

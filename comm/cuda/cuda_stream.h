// A stream of a GPU: a cudaStream_t, and the failures of what the host does in its order.
//
// What the GPU runs cannot be skipped: after a failure the work behind it still runs, on whatever
// is in memory. So the failure is kept, spreads to the streams that waited, and synchronize()
// throws it before anybody reads a result.
#pragma once

#include <cuda_runtime_api.h>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/cuda/launch_record.h"
#include "comm/cuda/step_graphs.h"
#include "comm/device.h"

namespace longspan {

/// The first failure of a stream's host work, which outlives the stream.
class CudaFailure {
 public:
  void set(std::exception_ptr failure);
  std::exception_ptr get() const;

 private:
  mutable std::mutex mutex_;
  std::exception_ptr first_;
};

class CudaEvent final : public EventState {
 public:
  /// Records itself on `stream`, a stream of the current device.
  CudaEvent(cudaStream_t stream, std::vector<std::shared_ptr<CudaFailure>> failures);
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  cudaEvent_t native() const { return event_; }
  /// Where the work before it leaves its failures.
  const std::vector<std::shared_ptr<CudaFailure>>& failures() const { return failures_; }

 private:
  cudaEvent_t event_ = nullptr;
  std::vector<std::shared_ptr<CudaFailure>> failures_;
};

class CudaStream final : public Stream {
 public:
  /// `graphs`: whether what is enqueued as one may be replayed as one, with memory of this device.
  explicit CudaStream(int ordinal, Device* graphs = nullptr);
  ~CudaStream() override;

  cudaStream_t native() const { return stream_; }
  /// Calls kLaunch(arguments..., the stream), a function that enqueues kernels and nothing else.
  /// While a step is gone through the call is noted instead.
  template <auto kLaunch, typename... Arguments>
  void launch(const Arguments&... arguments) {
    if (LaunchRecord* const record = recording()) {
      record->note(kLaunch);
      (record->note(arguments), ...);
      if (!record->launches()) return;
    }
    kLaunch(arguments..., stream_);
  }
  /// Expires with the stream.
  std::weak_ptr<const void> life() const { return life_; }
  /// For tests: steps that were replayed.
  std::int64_t replays() const { return graphs_ ? graphs_->replays() : 0; }
  /// While a step is gone through or captured, where its launches and descriptions are noted.
  LaunchRecord* recording() const { return graphs_ ? graphs_->record() : nullptr; }
  /// Where failures of this stream's own work are left, by its host work or by others that know of
  /// one.
  const std::shared_ptr<CudaFailure>& failure() const { return failures_.front(); }

  Event record() override;
  void wait(const Event& event) override;
  /// `work` runs on a thread of the driver: it may not call CUDA. Skipped when work before it on
  /// the host has failed.
  void call(std::function<void()> work) override;
  void as_one(const std::function<void()>& enqueue) override;
  /// Also throws DeviceError when work on the GPU failed; the process cannot use the GPU then.
  void synchronize() override;

 private:
  void make_current() const;

  int ordinal_;
  Device* graphs_from_;  // null: nothing is replayed
  cudaStream_t stream_ = nullptr;
  /// This stream's own first, then of the streams it has waited for.
  std::vector<std::shared_ptr<CudaFailure>> failures_;
  std::shared_ptr<const void> life_ = std::make_shared<char>();
  std::unique_ptr<StepGraphs> graphs_;  // once something was enqueued as one
};

/// Throws DeviceError while a step is gone through or captured: `what` is no part of one.
void expect_no_recording(const CudaStream& stream, const char* what);

/// The CUDA stream behind `stream`; std::logic_error if it is another device's.
CudaStream& as_cuda(Stream& stream);

}  // namespace longspan

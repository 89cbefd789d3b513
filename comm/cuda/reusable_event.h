// A CUDA event that is recorded again and again: what guards memory that calls take turns in. No
// order is kept but that of the last record.
#pragma once

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_check.h"

namespace longspan {

class ReusableEvent {
 public:
  /// Of the current device. Has happened.
  ReusableEvent() {
    cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
  }
  ~ReusableEvent() { cudaEventDestroy(event_); }
  ReusableEvent(const ReusableEvent&) = delete;
  ReusableEvent& operator=(const ReusableEvent&) = delete;

  void record(cudaStream_t stream) {
    cuda_check(cudaEventRecord(event_, stream), "recording an event");
  }
  /// Work enqueued on `stream` from now on runs after the event.
  void hold_back(cudaStream_t stream) const {
    cuda_check(cudaStreamWaitEvent(stream, event_), "waiting for an event");
  }
  /// Blocks the caller.
  void await() const { cuda_check(cudaEventSynchronize(event_), "waiting for an event"); }
  bool has_happened() const {
    const cudaError_t code = cudaEventQuery(event_);
    if (code == cudaSuccess) return true;
    cudaGetLastError();  // "not ready" is no error to be found by the next launch
    if (code != cudaErrorNotReady) cuda_check(code, "asking for an event");
    return false;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace longspan

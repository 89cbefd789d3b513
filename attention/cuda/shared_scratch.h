// Device memory that calls compute in and forget: one piece for all streams, which take turns.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>
#include <vector>

#include "attention/cuda/reusable_event.h"
#include "comm/device.h"

namespace longspan {

class SharedScratch {
 public:
  /// Borrows the device, which must be the current one.
  explicit SharedScratch(Device& device) : device_(device) {}

  /// One call's turn. Work that uses the memory is enqueued while it lives, and nothing else uses
  /// it before that has run.
  class Turn {
   public:
    Turn(SharedScratch& scratch, std::size_t bytes, cudaStream_t stream);
    float* values() const { return scratch_.memory_.back().as<float>().data(); }
    void end() { scratch_.used_.record(stream_); }

   private:
    std::lock_guard<std::mutex> lock_;
    SharedScratch& scratch_;
    cudaStream_t stream_;
  };

 private:
  Device& device_;
  std::mutex mutex_;
  /// The last one is in use. It doubles when it grows; those before may still be at work, and
  /// freeing memory would block.
  std::vector<Buffer> memory_;
  ReusableEvent used_;
};

}  // namespace longspan

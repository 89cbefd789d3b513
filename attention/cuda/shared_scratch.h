// Device memory that calls compute in and forget: one piece for all streams, which take turns.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>
#include <vector>

#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/reusable_event.h"
#include "comm/device.h"

namespace longspan {

class SharedScratch {
 public:
  /// Borrows the device, which must be the current one.
  explicit SharedScratch(Device& device) : device_(device) {}

  /// So that turns of as many bytes allocate nothing.
  void reserve(std::size_t bytes);

  /// One call's turn. Work that uses the memory is enqueued while it lives, and nothing else uses
  /// it before that has run. A step that is gone through as one has it for as long as it runs.
  class Turn {
   public:
    Turn(SharedScratch& scratch, std::size_t bytes, const CudaStream& stream);
    float* values() const { return scratch_.memory_.back().as<float>().data(); }
    void end() {
      if (stream_.recording() == nullptr) scratch_.used_.record(stream_.native());
    }

   private:
    std::lock_guard<std::mutex> lock_;
    SharedScratch& scratch_;
    const CudaStream& stream_;
  };

 private:
  void grow(std::size_t bytes);  // under the mutex

  Device& device_;
  std::mutex mutex_;
  /// The last one is in use. It doubles when it grows; those before may still be at work, and
  /// freeing memory would block.
  std::vector<Buffer> memory_;
  ReusableEvent used_;
};

}  // namespace longspan

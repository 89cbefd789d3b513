// How a kernel that is at work learns that messages have arrived: a count on the GPU, which a
// stream of its own raises behind the event of each.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "comm/cuda/cuda_device.h"

namespace longspan {

class Arrivals {
 public:
  /// Borrows the device, which must be the current one.
  explicit Arrivals(CudaDevice& device);

  /// What the count will have reached when `arrived` is past; 0 for no event. Later events are
  /// counted behind it.
  std::uint64_t expect(const Event& arrived);
  /// On the GPU.
  const std::uint64_t* count() const { return count_.as<std::uint64_t>().data(); }

 private:
  Buffer count_;
  std::mutex mutex_;
  std::uint64_t expected_ = 0;
  std::unique_ptr<Stream> stream_;  // last: drains before the count goes
};

}  // namespace longspan

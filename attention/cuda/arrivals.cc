#include "attention/cuda/arrivals.h"

#include <cuda_runtime_api.h>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/stream_words.h"

namespace longspan {

Arrivals::Arrivals(CudaDevice& device)
    : count_(device.allocate(sizeof(std::uint64_t))), stream_(device.new_stream()) {
  cuda_check(
      cudaMemsetAsync(count_.bytes().data(), 0, sizeof(std::uint64_t), as_cuda(*stream_).native()),
      "clearing a count of arrivals");
  stream_->synchronize();
}

std::uint64_t Arrivals::expect(const Event& arrived) {
  if (!arrived.state()) return 0;
  const std::lock_guard lock(mutex_);
  stream_->wait(arrived);
  write_word(as_cuda(*stream_).native(), count_.as<std::uint64_t>().data(), ++expected_);
  return expected_;
}

}  // namespace longspan

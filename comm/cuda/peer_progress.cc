#include "comm/cuda/peer_progress.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>

#include "comm/cuda/cuda_stream.h"

namespace longspan {
namespace {

/// Between two questions to the GPU. Deadlines are seconds.
constexpr std::chrono::milliseconds kSeldom(20);

}  // namespace

PeerProgress::PeerProgress(CudaDevice& gpu, const std::uint64_t* done)
    : done_(done),
      words_(gpu.allocate_on_host(2 * sizeof(std::uint64_t))),
      asking_(gpu.new_stream()) {
  std::ranges::fill(words_.as<std::uint64_t>(), 0);
}

bool PeerProgress::is_done(std::uint64_t n) {
  const std::uint64_t begun = count_begun();
  if (begun != n + 1) return begun > n;
  const auto now = std::chrono::steady_clock::now();
  if (known_done_ <= n && now - asked_ >= kSeldom) {
    known_done_ = count_done();
    asked_ = now;
  }
  return known_done_ > n;
}

std::uint64_t PeerProgress::count_begun() const {
  return std::atomic_ref(*begun()).load(std::memory_order_relaxed);
}

/// What cannot be asked is done: synchronize() hears of the GPU's failure.
std::uint64_t PeerProgress::count_done() {
  std::uint64_t* const copy = begun() + 1;
  const cudaStream_t stream = as_cuda(*asking_).native();
  const bool asked =
      cudaMemcpyAsync(copy, done_, sizeof(*copy), cudaMemcpyDeviceToHost, stream) == cudaSuccess &&
      cudaStreamSynchronize(stream) == cudaSuccess;
  return asked ? *copy : ~std::uint64_t{0};
}

}  // namespace longspan

// How far this GPU's kernels for small messages are, without an event for each, which would keep
// the kernel behind it from being launched early: each tells the host that it has begun, which says
// that those before it are done. Of the last one the GPU is asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "comm/cuda/cuda_device.h"

namespace longspan {

class PeerProgress {
 public:
  /// `done`: a word of the GPU that counts kernels that have ended; 0 now.
  PeerProgress(CudaDevice& gpu, const std::uint64_t* done);

  /// Where kernels count those that have begun; 0 now.
  std::uint64_t* begun() const { return words_.as<std::uint64_t>().data(); }

  /// Of the n-th kernel from 0 on. By one thread.
  bool has_begun(std::uint64_t n) const { return count_begun() > n; }
  bool is_done(std::uint64_t n);

 private:
  std::uint64_t count_begun() const;
  std::uint64_t count_done();

  const std::uint64_t* done_;
  Buffer words_;  // pinned: begun, and a copy of done
  std::unique_ptr<Stream> asking_;
  std::uint64_t known_done_ = 0;
  std::chrono::steady_clock::time_point asked_{};
};

}  // namespace longspan

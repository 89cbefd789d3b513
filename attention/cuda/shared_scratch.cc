#include "attention/cuda/shared_scratch.h"

#include <bit>

namespace longspan {

void SharedScratch::reserve(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  grow(bytes);
}

void SharedScratch::grow(std::size_t bytes) {
  if (memory_.empty() || memory_.back().bytes().size() < bytes) {
    memory_.push_back(device_.allocate(std::bit_ceil(bytes)));
  }
}

SharedScratch::Turn::Turn(SharedScratch& scratch, std::size_t bytes, const CudaStream& stream)
    : lock_(scratch.mutex_), scratch_(scratch), stream_(stream) {
  scratch.grow(bytes);
  if (LaunchRecord* const record = stream.recording()) {
    record->use(scratch.used_);
  } else {
    scratch.used_.hold_back(stream.native());
  }
}

}  // namespace longspan

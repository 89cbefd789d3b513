#include "attention/cuda/shared_scratch.h"

#include <bit>

namespace longspan {

SharedScratch::Turn::Turn(SharedScratch& scratch, std::size_t bytes, cudaStream_t stream)
    : lock_(scratch.mutex_), scratch_(scratch), stream_(stream) {
  if (scratch.memory_.empty() || scratch.memory_.back().bytes().size() < bytes) {
    scratch.memory_.push_back(scratch.device_.allocate(std::bit_ceil(bytes)));
  }
  scratch.used_.hold_back(stream);
}

}  // namespace longspan

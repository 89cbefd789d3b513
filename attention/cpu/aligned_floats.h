// Floats at a cache line's border, uninitialised: what vector loads of any width may read.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace longspan {

inline constexpr std::align_val_t kCacheLine{64};

struct FreeAligned {
  void operator()(float* memory) const { ::operator delete(memory, kCacheLine); }
};

using AlignedFloats = std::unique_ptr<float, FreeAligned>;

inline AlignedFloats aligned_floats(std::size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new(count * sizeof(float), kCacheLine)));
}

}  // namespace longspan

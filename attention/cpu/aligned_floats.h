// Numbers at a cache line's border, uninitialised: what vector loads of any width may read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace longspan {

inline constexpr std::align_val_t kCacheLine{64};

struct FreeAligned {
  void operator()(void* memory) const { ::operator delete(memory, kCacheLine); }
};

using AlignedFloats = std::unique_ptr<float, FreeAligned>;

inline AlignedFloats aligned_floats(std::size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new(count * sizeof(float), kCacheLine)));
}

using AlignedHalves = std::unique_ptr<std::uint16_t, FreeAligned>;

inline AlignedHalves aligned_halves(std::size_t count) {
  return AlignedHalves(
      static_cast<std::uint16_t*>(::operator new(count * sizeof(std::uint16_t), kCacheLine)));
}

}  // namespace longspan

// What the copies of fast kernels ask of keys in memory: everything begins at 16 bytes.
#pragma once

#include <cstdint>

#include "attention/kv_type.h"

namespace longspan {

inline constexpr std::int64_t kCopyBytes = 16;

inline bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kCopyBytes == 0;
}

/// A distance in bfloat16 values.
inline bool is_aligned_stride(std::int64_t values) {
  return values * value_bytes(KvType::kBFloat16) % kCopyBytes == 0;
}

}  // namespace longspan

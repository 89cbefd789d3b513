#include "runtime/model/k_blocks.h"

#include <cstdint>

#include "runtime/model/float16.h"

namespace longspan {
namespace {

constexpr int kGroup = 32;
constexpr int kGroups = kKBlock / kGroup;

struct GroupScale {
  float scale;
  float minimum;
};

int byte_at(const std::byte* from, int index) { return static_cast<int>(from[index]); }

/// Of group `group`, out of d, dmin and the 12 bytes behind them. Groups 0 to 3 have six bits of a
/// byte; of groups 4 to 7 the low four bits share a byte, the high two are the rest of those.
GroupScale group_scale(const std::byte* block, int group) {
  const std::byte* const packed = block + 4;
  int scale = 0, minimum = 0;
  if (group < 4) {
    scale = byte_at(packed, group) & 63;
    minimum = byte_at(packed, group + 4) & 63;
  } else {
    const int low = byte_at(packed, group + 4);
    scale = (low & 15) | (byte_at(packed, group - 4) >> 6 << 4);
    minimum = (low >> 4) | (byte_at(packed, group) >> 6 << 4);
  }
  return {half_at(block) * static_cast<float>(scale),
          half_at(block + 2) * static_cast<float>(minimum)};
}

/// Value `i` of group `group`: two groups share 32 bytes, low nibbles first.
int nibble(const std::byte* packed, int group, int i) {
  return byte_at(packed, group / 2 * kGroup + i) >> (group % 2 * 4) & 15;
}

}  // namespace

void q4_k_block(const std::byte* block, float* values) {
  const std::byte* const packed = block + 16;
  for (int group = 0; group < kGroups; ++group) {
    const auto [scale, minimum] = group_scale(block, group);
    for (int i = 0; i < kGroup; ++i) {
      *values++ = static_cast<float>(nibble(packed, group, i)) * scale - minimum;
    }
  }
}

void q5_k_block(const std::byte* block, float* values) {
  const std::byte *const high = block + 16, *const packed = high + 32;
  for (int group = 0; group < kGroups; ++group) {
    const auto [scale, minimum] = group_scale(block, group);
    for (int i = 0; i < kGroup; ++i) {
      const int q = nibble(packed, group, i) | (byte_at(high, i) >> group & 1) << 4;
      *values++ = static_cast<float>(q) * scale - minimum;
    }
  }
}

/// Four groups share 64 bytes of nibbles (two low, then two high) and 32 bytes of high bits.
void q6_k_block(const std::byte* block, float* values) {
  const std::byte *const packed = block, *const high = block + 128, *const scales = high + 64;
  const float d = half_at(scales + 16);
  for (int group = 0; group < kGroups; ++group) {
    const int half = group / 4, quarter = group % 4;
    for (int i = 0; i < kGroup; ++i) {
      const int low = byte_at(packed, half * 64 + quarter % 2 * kGroup + i) >> (quarter / 2 * 4);
      const int two = byte_at(high, half * kGroup + i) >> (2 * quarter) & 3;
      const auto scale = static_cast<std::int8_t>(scales[(group * kGroup + i) / 16]);
      *values++ =
          (d * static_cast<float>(scale)) * static_cast<float>(((low & 15) | two << 4) - 32);
    }
  }
}

}  // namespace longspan

// How keys and values are stored.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace longspan {

/// What is computed with them is float32 whatever they are stored as.
enum class KvType : std::int32_t { kFloat32, kFloat16, kBFloat16 };

inline constexpr std::array kKvTypes{KvType::kFloat32, KvType::kFloat16, KvType::kBFloat16};

/// "float32", ...
constexpr std::string_view name(KvType type) {
  constexpr std::array<std::string_view, kKvTypes.size()> kNames{"float32", "float16", "bfloat16"};
  return kNames[static_cast<std::size_t>(type)];
}

/// Bytes of one value.
constexpr int value_bytes(KvType type) { return type == KvType::kFloat32 ? 4 : 2; }

/// `count` values from float32 to `type`, to the nearest, ties to even. What float16 cannot hold
/// becomes its largest number: an infinity would spoil every row that sees the key.
void narrow(KvType type, const float* from, std::int64_t count, void* to);

/// The reverse, exact.
void widen(KvType type, const void* from, std::int64_t count, float* to);

}  // namespace longspan

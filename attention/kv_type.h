// How keys and values are stored.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace longspan {

/// What is computed with them is float32 whatever they are stored as. int8 is a type of full pages
/// only: see kv_pages.h.
enum class KvType : std::int32_t { kFloat32, kFloat16, kBFloat16, kInt8 };

inline constexpr std::array kKvTypes{KvType::kFloat32, KvType::kFloat16, KvType::kBFloat16,
                                     KvType::kInt8};

/// "float32", ...
constexpr std::string_view name(KvType type) {
  constexpr std::array<std::string_view, kKvTypes.size()> kNames{"float32", "float16", "bfloat16",
                                                                 "int8"};
  return kNames[static_cast<std::size_t>(type)];
}

/// Bytes of one value; int8 has scales besides.
constexpr int value_bytes(KvType type) {
  constexpr std::array<int, kKvTypes.size()> kBytes{4, 2, 2, 1};
  return kBytes[static_cast<std::size_t>(type)];
}

/// Whether the values of a head in a page share a scale.
constexpr bool has_scales(KvType type) { return type == KvType::kInt8; }

/// What a page is stored as while it fills: a scale is known when all values are.
constexpr KvType filling_type(KvType type) { return has_scales(type) ? KvType::kBFloat16 : type; }

/// `count` values from float32 to `type`, which has no scales, to the nearest, ties to even. What
/// float16 cannot hold becomes its largest number: an infinity would spoil every row that sees the
/// key.
void narrow(KvType type, const float* from, std::int64_t count, void* to);

/// The reverse, exact.
void widen(KvType type, const void* from, std::int64_t count, float* to);

/// `count` bfloat16 values to int8, symmetric: returns the scale, their largest magnitude / 127,
/// and leaves in `to` value / scale, to the nearest integer, ties to even, -127 to 127. All zero:
/// the scale is 0. If one is not a finite number, the scale is NaN and every integer 0: the whole
/// head then reads as NaN, so that damage shows instead of being rounded away.
float narrow_to_int8(const std::uint16_t* from, std::int64_t count, std::int8_t* to);

/// scale * integer, rounded to float32.
void widen_int8(const std::int8_t* from, std::int64_t count, float scale, float* to);

}  // namespace longspan

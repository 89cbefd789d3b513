// Memory to measure on.
#pragma once

#include <cstdint>

#include "attention/kv_type.h"
#include "comm/device.h"

namespace longspan {

/// Fills the memory with values between -1 and 1, which repeat after 2^18; they are there when it
/// returns. Zeros would be faster than what a model computes (13 % in matrix products on an H100),
/// and what lies in new memory slower.
void fill_randomly(Device& device, Stream& stream, Bytes memory, std::uint32_t seed,
                   KvType type = KvType::kFloat32);
/// New memory of `count` such values.
Buffer random_values(Device& device, Stream& stream, std::int64_t count, std::uint32_t seed,
                     KvType type = KvType::kFloat32);

}  // namespace longspan

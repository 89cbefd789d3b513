// Memory to measure on.
#pragma once

#include <cstdint>

#include "attention/kv_type.h"
#include "comm/device.h"

namespace longspan {

/// Memory of `count` values between -1 and 1, there when it returns. Zeros would be faster than
/// what a model computes (13 % in matrix products on an H100), and what lies in new memory slower.
Buffer random_values(Device& device, Stream& stream, std::int64_t count, std::uint32_t seed,
                     KvType type = KvType::kFloat32);

}  // namespace longspan

// CRC-32C (Castagnoli's polynomial, as in iSCSI and ext4) of bytes that leave memory: a disk or a
// link that gives back others is noticed. No protection from somebody who changes them on purpose.
#pragma once

#include <cstdint>

#include "comm/device.h"

namespace longspan {

/// Of `bytes` behind those whose CRC is `before`; 0: of none. By the processor's instruction where
/// it has one.
std::uint32_t crc32c(ConstBytes bytes, std::uint32_t before = 0);

/// The same, a byte at a time from a table.
std::uint32_t crc32c_by_table(ConstBytes bytes, std::uint32_t before = 0);

}  // namespace longspan

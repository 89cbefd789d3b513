// What this machine can do at best, measured in the same run as the figures compared with it.
#pragma once

#include "comm/cpu/cpu_device.h"

namespace longspan::bench {

/// Multiply-adds in registers: FLOP/s of `threads` threads with vectors of `width` floats (4, 8 or
/// 16, for which the machine has the instructions).
double multiply_add_rate(int width, int threads);

/// Bytes/s that the device's threads read of its memory, where no cache holds it.
double read_rate(CpuDevice& device);

}  // namespace longspan::bench

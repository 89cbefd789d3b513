// Head sizes that attention kernels take. Numbers alone, so that code compiled for one instruction
// set may include them (see cpu/compiled_kernels.h).
#pragma once

namespace longspan {

inline constexpr int kLeastHeadDim = 16;
inline constexpr int kMostHeadDim = 256;
inline constexpr int kHeadDimStep = 8;

}  // namespace longspan

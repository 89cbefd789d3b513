// Which CUDA kernel attends.
#pragma once

#include "attention/cuda/prefill_sm90.h"

namespace longspan {

/// Turns true with the first run on a device in which scripts/gpu-check --only prefill passed:
/// until then nobody gets these kernels unasked.
inline constexpr bool kSm90ProvenOnDevice = false;

struct KernelChoice {
  bool sm90 = false;  // where shape, device and segments allow it; the reference kernel elsewhere
  Sm90Rung rung = kTopRung;
};

/// What LONGSPAN_ATTENTION_KERNEL says of the current device: "auto" or null, "reference", or
/// "sm90". Throws ConfigError for another word, and for "sm90" where the device is none.
KernelChoice choose_kernel(const char* word);

}  // namespace longspan

// Which CUDA kernel attends.
#pragma once

#include "attention/cuda/prefill_sm90.h"

namespace longspan {

/// Turns true with the first run on a device in which scripts/gpu-check --only prefill passed:
/// until then nobody gets these kernels unasked.
inline constexpr bool kSm90ProvenOnDevice = false;
/// The same of the decode kernel and scripts/gpu-check --only decode.
inline constexpr bool kMmaDecodeProvenOnDevice = false;

struct KernelChoice {
  bool sm90 = false;  // where shape, device and segments allow it; the reference kernel elsewhere
  Sm90Rung rung = kTopRung;
  bool mma_decode = false;  // likewise for rows of decode()
};

/// What LONGSPAN_ATTENTION_KERNEL says of the current device: "auto" or null, "reference", or
/// "sm90", which decodes by matrix units too. Throws ConfigError for another word, and for "sm90"
/// where the device is none.
KernelChoice choose_kernel(const char* word);

}  // namespace longspan

// Which CUDA kernel attends.
#pragma once

#include "attention/cuda/prefill_sm90.h"
#include "attention/precision.h"

namespace longspan {

enum class PrefillKernel { kReference, kMma, kSm90 };

struct KernelChoice {
  /// Where shape and segments allow it; the reference kernel elsewhere.
  PrefillKernel prefill = PrefillKernel::kReference;
  Sm90Rung rung = kTopRung;
  bool rounds_keys = false;  // of float32, so that matrix units can read them too
  bool mma_decode = false;   // for rows of decode(), where shape, device and their keys allow it
};

/// What LONGSPAN_ATTENTION_KERNEL says of the current device: "auto" or null, "reference", or
/// "mma" or "sm90", which decode by matrix units too. auto is the best of these that the device
/// has, where products may be taken in bfloat16; keys of float32 are rounded then. Throws
/// ConfigError for another word, and for one that the device cannot run.
KernelChoice choose_kernel(const char* word, Precision precision);

}  // namespace longspan

// Which CUDA kernel attends.
#pragma once

#include "attention/cuda/prefill_sm90.h"
#include "attention/precision.h"

namespace longspan {

struct KernelChoice {
  bool sm90 = false;  // where shape, device and segments allow it; the reference kernel elsewhere
  Sm90Rung rung = kTopRung;
  bool rounds_keys = false;  // of float32, so that sm90 can read them too
  bool mma_decode = false;   // for rows of decode(), where shape, device and their keys allow it
};

/// What LONGSPAN_ATTENTION_KERNEL says of the current device: "auto" or null, "reference", or
/// "sm90", which decodes by matrix units too. auto is these where products may be taken in bfloat16
/// and the device has them; keys of float32 are rounded then. Throws ConfigError for another word,
/// and for "sm90" where the device is none.
KernelChoice choose_kernel(const char* word, Precision precision);

}  // namespace longspan

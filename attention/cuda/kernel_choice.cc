#include "attention/cuda/kernel_choice.h"

#include <string_view>

#include "attention/cuda/decode_mma.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

KernelChoice choose_kernel(const char* word, Precision precision) {
  const std::string_view name = word ? word : "auto";
  const bool narrow = precision == Precision::kBFloat16;
  if (name == "reference") return {};
  if (name != "auto" && name != "mma" && name != "sm90") {
    throw ConfigError(
        str("LONGSPAN_ATTENTION_KERNEL is {}; it may be auto, reference, mma or sm90", name));
  }
  if (name == "auto" && !narrow) return {};
  const PrefillKernel best = device_runs_sm90()  ? PrefillKernel::kSm90
                             : device_runs_mma() ? PrefillKernel::kMma
                                                 : PrefillKernel::kReference;
  const PrefillKernel wanted = name == "mma"    ? PrefillKernel::kMma
                               : name == "sm90" ? PrefillKernel::kSm90
                                                : best;
  if (wanted > best) {
    throw ConfigError(
        str("LONGSPAN_ATTENTION_KERNEL is {}, and this GPU is not of that kind", name));
  }
  return {.prefill = wanted, .rounds_keys = narrow, .mma_decode = device_runs_mma()};
}

}  // namespace longspan

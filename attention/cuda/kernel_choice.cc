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
  if (name == "auto") {
    return {.sm90 = narrow && device_runs_sm90(),
            .rounds_keys = narrow,
            .mma_decode = narrow && device_runs_mma()};
  }
  if (name != "sm90") {
    throw ConfigError(
        str("LONGSPAN_ATTENTION_KERNEL is {}; it may be auto, reference or sm90", name));
  }
  if (!device_runs_sm90()) {
    throw ConfigError("LONGSPAN_ATTENTION_KERNEL is sm90, and this GPU is not of that kind");
  }
  return {.sm90 = true, .rounds_keys = narrow, .mma_decode = true};
}

}  // namespace longspan

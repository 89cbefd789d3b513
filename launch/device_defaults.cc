#include "launch/device_defaults.h"

#include "comm/error.h"
#include "comm/str.h"
#include "launch/usual_page.h"

namespace longspan {
namespace {

void expect_done_on_gpus(const GenerateOptions& options) {
  if (options.kv_type && *options.kv_type != KvType::kFloat32 &&
      *options.kv_type != KvType::kBFloat16) {
    throw UsageError(
        str("--kv-dtype {} is for --backend cpu; GPUs keep keys in float32 or bfloat16 so far",
            name(*options.kv_type)));
  }
  if (options.rope_float32) {
    throw UsageError("--rope-float32 is for --backend cpu; GPUs turn by exact angles");
  }
  if (approximation(options.attention).needs_choice()) {
    throw UsageError(
        str("--attention {} is for --backend cpu; GPUs do exact, sinks and star so far",
            name(options.attention.kind)));
  }
}

}  // namespace

GenerateOptions suited_to(Backend backend, GenerateOptions options) {
  if (backend == Backend::kCuda) expect_done_on_gpus(options);
  options.page_tokens = options.page_tokens.value_or(page_tokens_of(backend));
  return options;
}

}  // namespace longspan

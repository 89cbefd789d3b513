#include "launch/bench/bench_machine.h"

#include <cmath>

#include "comm/agreement.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/on_machine.h"
#include "launch/usual_page.h"

namespace longspan {

ExitCode on_bench_machine(
    const BenchOptions& options,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& bench) {
  return on_machine({.threads = options.threads,
                     .bind = options.bind,
                     .backend = options.backend,
                     .gpu_link = options.gpu_link,
                     .throttle_link = options.throttle_link,
                     .log_level = options.log_level},
                    bench);
}

BenchAttentionOptions suited_to(Backend backend, BenchAttentionOptions options) {
  options.page_tokens = options.page_tokens.value_or(page_tokens_of(backend));
  return options;
}

BenchDecodeOptions suited_to(Backend backend, BenchDecodeOptions options) {
  const bool on_gpu = backend == Backend::kCuda;
  options.page_tokens = options.page_tokens.value_or(page_tokens_of(backend));
  options.kv_type = options.kv_type.value_or(on_gpu ? KvType::kBFloat16 : KvType::kFloat32);
  return options;
}

void expect_memory(Machine& machine, std::int64_t bytes, const std::string& advice) {
  const std::int64_t own = machine.device_memory_left().value_or(available_host_memory() /
                                                                 std::ssize(machine.host_ranks()));
  const std::int64_t room = minimum(machine.control(), own);
  agree_on(machine.control(), [&] {
    if (bytes <= room) return true;
    throw OutOfMemory(str("this needs {} on each rank, but there are {}; {}", human_bytes(bytes),
                          human_bytes(room), advice));
  });
}

std::unique_ptr<AttentionKernels> new_kernels(Machine& machine, const HeadShape& heads,
                                              Precision precision) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(heads.head_dim));
  return machine.backend() == Backend::kCuda
             ? new_cuda_attention_kernels(machine.device(), heads, scale, precision)
             : new_cpu_attention_kernels(heads, scale, precision);
}

ExitCode ended(Machine& machine, const std::atomic<bool>& interrupted) {
  return any_rank(machine.control(), interrupted) ? ExitCode::kInterrupted : ExitCode::kClean;
}

}  // namespace longspan

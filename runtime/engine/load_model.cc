#include "runtime/engine/load_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "runtime/model/gguf.h"
#include "runtime/model/weight_plan.h"

namespace longspan {
namespace {

std::int64_t host_budget(std::optional<std::int64_t> limit, std::int64_t used) {
  const std::int64_t available = available_host_memory();
  return limit ? std::min(available, *limit - used) : available;
}

void check_weights_fit(const WeightPlan& plan, const LoadModelOptions& options) {
  const std::int64_t budget = host_budget(options.memory_limit, 0);
  const auto needed = static_cast<std::int64_t>(plan.bytes());
  if (needed <= budget) return;
  throw OutOfMemory(str(
      "the weights take {} at {}, but {} of memory is available on this host{}; use a smaller "
      "model{} or a larger machine",
      human_bytes(needed), name(options.precision), human_bytes(std::max<std::int64_t>(0, budget)),
      options.memory_limit ? " (--memory-limit)" : "",
      options.precision == Precision::kFloat32 ? ", --dtype bfloat16" : ""));
}

}  // namespace

OpenedModel open_model(Machine& machine, const std::string& path) {
  return agree_on(machine.control(), [&] {
    GgufFile file(path);
    ModelConfig config = read_model_config(file);
    Tokenizer tokenizer(file);
    return OpenedModel{std::move(file), std::move(config), std::move(tokenizer)};
  });
}

Precision agreed_precision(Machine& machine, std::optional<Precision> wish) {
  if (wish) return *wish;
  const bool all = minimum(machine.control(), fastest_cpu_precision() == Precision::kBFloat16) == 1;
  return all ? Precision::kBFloat16 : Precision::kFloat32;
}

LoadedModel load_model(Machine& machine, OpenedModel opened, const LoadModelOptions& options) {
  const HostRanks host(machine.control(), machine.host_ranks());
  const int host_threads = machine.threads() * host.size();
  auto ops = new_cpu_model_ops(options.precision);
  // Before loading, since ranks that share weights wait for each other inside.
  agree_on(machine.control(), [&] {
    const TensorType embedding = opened.file.find("token_embd.weight")->type;
    check_weights_fit(WeightPlan(opened.config, embedding, *ops), options);
    return true;
  });
  return agree_on(machine.control(), [&] {
    ModelWeights weights =
        ModelWeights::load(opened.file, opened.config, *ops, host,
                           {.threads = host_threads, .progress = options.progress});
    const float scale = 1.0f / std::sqrt(static_cast<float>(opened.config.heads.head_dim));
    auto kernels = new_cpu_attention_kernels(opened.config.heads, scale, options.precision);
    return LoadedModel{.tokenizer = std::move(opened.tokenizer),
                       .config = std::move(opened.config),
                       .weights = std::move(weights),
                       .ops = std::move(ops),
                       .kernels = std::move(kernels)};
  });
}

std::int64_t memory_left_per_rank(Machine& machine, const LoadedModel& model,
                                  std::optional<std::int64_t> memory_limit) {
  const std::int64_t budget =
      host_budget(memory_limit, static_cast<std::int64_t>(model.weights.bytes()));
  const std::int64_t own = budget / std::ssize(machine.host_ranks());
  return minimum(machine.control(), own);
}

}  // namespace longspan

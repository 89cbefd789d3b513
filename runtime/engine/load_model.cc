#include "runtime/engine/load_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "runtime/engine/instance_ranks.h"
#include "runtime/model/folder_config.h"
#include "runtime/model/folder_tokenizer.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model_folder.h"
#include "runtime/model/model_part.h"
#include "runtime/model/model_tensors.h"
#include "runtime/model/weight_plan.h"

namespace longspan {
namespace {

std::int64_t host_budget(std::optional<std::int64_t> limit, std::int64_t used) {
  const std::int64_t available = available_host_memory();
  return limit ? std::min(available, *limit - used) : available;
}

/// `place`: where the memory is.
void check_weights_fit(std::int64_t needed, std::int64_t budget, const std::string& place,
                       const LoadModelOptions& options) {
  if (needed <= budget) return;
  throw OutOfMemory(str(
      "the weights take {} at {}, but {} of memory is available on {}{}; use a smaller "
      "model{} or a larger machine",
      human_bytes(needed), name(options.precision), human_bytes(std::max<std::int64_t>(0, budget)),
      place, options.memory_limit ? " (--memory-limit)" : "",
      options.precision == Precision::kFloat32 ? ", --dtype bfloat16" : ""));
}

/// What is left of a device with memory of its own, less what nobody plans: scratch that grows with
/// calls, kernels that are loaded late, buffers of links.
std::optional<std::int64_t> device_budget(Machine& machine) {
  constexpr std::int64_t kUnplanned = std::int64_t{1} << 30;
  const auto left = machine.device_memory_left();
  return left ? std::optional(*left - kUnplanned) : std::nullopt;
}

/// Of this host's ranks those that hold the same part as this one, which may share a block.
std::vector<int> sharing_ranks(Machine& machine, const InstanceRanks& ranks) {
  std::vector<int> same = machine.host_ranks();
  const int part = ranks.part_of(machine.rank());
  std::erase_if(same, [&](int rank) { return ranks.part_of(rank) != part; });
  return same;
}

/// The parts of the model that ranks of this host hold.
std::set<int> parts_on_host(Machine& machine, const InstanceRanks& ranks) {
  std::set<int> parts;
  for (int rank : machine.host_ranks()) parts.insert(ranks.part_of(rank));
  return parts;
}

std::int64_t part_weight_bytes(const OpenedModel& opened, int part, int tp, const ModelOps& ops) {
  const TensorType embedding =
      opened.file ? embedding_type(*opened.file, opened.config) : TensorType::kBF16;
  const ModelConfig config = part_of(opened.config, {.index = part, .ranks = tp});
  return static_cast<std::int64_t>(WeightPlan(config, embedding, ops).bytes());
}

std::int64_t host_weight_bytes(const OpenedModel& opened, const std::set<int>& parts, int tp,
                               const ModelOps& ops) {
  std::int64_t bytes = 0;
  for (int part : parts) bytes += part_weight_bytes(opened, part, tp, ops);
  return bytes;
}

/// In the host's memory, from where a device with memory of its own gets a copy.
void check_weights_fit(Machine& machine, std::int64_t host_bytes, std::int64_t own_bytes,
                       const LoadModelOptions& options) {
  const auto of_device = device_budget(machine);
  if (!of_device) {
    check_weights_fit(host_bytes, host_budget(options.memory_limit, 0), "this host", options);
    return;
  }
  check_weights_fit(host_bytes, available_host_memory(), "this host", options);
  check_weights_fit(own_bytes, *of_device, machine.device().description(), options);
}

std::optional<ModelManifest> manifest_of(const TensorFile& model, ManifestUse use) {
  if (use == ManifestUse::kIgnore) return std::nullopt;
  const ModelFiles files = files_of(model);
  std::optional<ModelManifest> manifest = ModelManifest::find(files);
  if (manifest) manifest->expect_listed(files);
  return manifest;
}

/// Reads all files of the model, on one rank of each host.
void check_contents(Machine& machine, const OpenedModel& opened, const LoadModelOptions& options) {
  agree_on(machine.control(), [&] {
    if (!opened.manifest || machine.rank() != machine.host_ranks().front()) return true;
    const ModelFiles files = files_of(*opened.file);
    const int threads = machine.threads() * static_cast<int>(machine.host_ranks().size());
    opened.manifest->expect_same(ModelManifest::made_of(files, threads, options.check_progress),
                                 files);
    return true;
  });
}

}  // namespace

OpenedModel open_model(const std::string& path, ManifestUse use) {
  if (std::filesystem::is_directory(path)) {
    auto folder = std::make_unique<ModelFolder>(path);
    std::optional<ModelManifest> manifest = manifest_of(*folder, use);
    ModelConfig config = read_model_config(*folder);
    Tokenizer tokenizer = folder_tokenizer(path, config.vocabulary);
    return {std::move(folder), std::move(config), std::move(tokenizer), std::move(manifest)};
  }
  auto file = std::make_unique<GgufFile>(path);
  std::optional<ModelManifest> manifest = manifest_of(*file, use);
  ModelConfig config = read_model_config(*file);
  Tokenizer tokenizer(*file);
  return {std::move(file), std::move(config), std::move(tokenizer), std::move(manifest)};
}

OpenedModel open_model(Machine& machine, const std::string& path, ManifestUse use,
                       LoadFormat format) {
  return agree_on(machine.control(), [&] {
    if (format == LoadFormat::kAuto) return open_model(path, use);
    if (std::filesystem::is_regular_file(path)) {
      throw UsageError(
          str("{} is a file, but dummy weights (--load-format dummy) are made for the config.json "
              "of a model's folder; name that folder, or leave the option out to load the file",
              path));
    }
    ModelConfig config = read_folder_config(path);
    Tokenizer tokenizer = folder_tokenizer(path, config.vocabulary);
    return OpenedModel{nullptr, std::move(config), std::move(tokenizer)};
  });
}

Precision agreed_precision(Machine& machine, std::optional<Precision> wish) {
  if (wish) return *wish;
  if (machine.backend() == Backend::kCuda) return Precision::kBFloat16;
  const bool all = minimum(machine.control(), fastest_cpu_precision() == Precision::kBFloat16) == 1;
  return all ? Precision::kBFloat16 : Precision::kFloat32;
}

LoadedModel load_model(Machine& machine, OpenedModel opened, const LoadModelOptions& options) {
  const InstanceRanks ranks(options.tp);
  const std::set<int> parts = parts_on_host(machine, ranks);
  const HostRanks sharing(machine.control(), sharing_ranks(machine, ranks));
  // Each part's leader fills a block, all at once.
  const int threads =
      std::max<int>(1, machine.threads() * std::ssize(machine.host_ranks()) / std::ssize(parts));
  const bool on_gpu = machine.backend() == Backend::kCuda;
  auto ops = agree_on(machine.control(), [&] {
    return on_gpu ? new_cuda_model_ops(machine.device(), options.precision)
                  : new_cpu_model_ops(options.precision);
  });
  // Before loading, since ranks that share weights wait for each other inside.
  const std::int64_t host_bytes = agree_on(machine.control(), [&] {
    const std::int64_t bytes = host_weight_bytes(opened, parts, options.tp, *ops);
    const int part = ranks.part_of(machine.rank());
    const std::int64_t on_host = on_gpu && !opened.file ? 0 : bytes;
    check_weights_fit(machine, on_host, part_weight_bytes(opened, part, options.tp, *ops), options);
    return bytes;
  });
  check_contents(machine, opened, options);
  return agree_on(machine.control(), [&] {
    const ModelPart part{.index = ranks.part_of(machine.rank()), .ranks = options.tp};
    ModelWeights weights =
        opened.file ? ModelWeights::load(*opened.file, opened.config, *ops, sharing,
                                         {.threads = threads,
                                          .progress = options.progress,
                                          .part = part,
                                          .device = on_gpu ? &machine.device() : nullptr})
                    : ModelWeights::made_up(opened.config, *ops, machine.device(), part);
    ModelConfig config = part_of(opened.config, part);
    const float scale = 1.0f / std::sqrt(static_cast<float>(config.heads.head_dim));
    auto kernels = on_gpu ? new_cuda_attention_kernels(machine.device(), config.heads, scale,
                                                       options.precision)
                          : new_cpu_attention_kernels(config.heads, scale, options.precision);
    return LoadedModel{.tokenizer = std::move(opened.tokenizer),
                       .config = std::move(config),
                       .weights = std::move(weights),
                       .host_weight_bytes = host_bytes,
                       .ops = std::move(ops),
                       .kernels = std::move(kernels)};
  });
}

std::int64_t memory_left_per_rank(Machine& machine, const LoadedModel& model,
                                  std::optional<std::int64_t> memory_limit) {
  const std::int64_t ranks = std::ssize(machine.host_ranks());
  std::int64_t own = 0;
  if (const auto of_device = device_budget(machine)) {
    const auto weights = static_cast<std::int64_t>(model.weights.bytes());
    own = memory_limit ? std::min(*of_device, *memory_limit / ranks - weights) : *of_device;
  } else {
    own = host_budget(memory_limit, model.host_weight_bytes) / ranks;
  }
  return minimum(machine.control(), own);
}

}  // namespace longspan

#include "launch/run_setup.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "attention/calibration.h"
#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/link_throttle.h"
#include "comm/log.h"
#include "comm/str.h"
#include "launch/allowed_strategies.h"
#include "launch/instances.h"
#include "launch/progress.h"
#include "launch/terminal.h"
#include "launch/version.h"
#include "launch/watched_signals.h"
#include "runtime/engine/calibration_cache.h"
#include "runtime/engine/deal_of_chunk.h"
#include "runtime/engine/instance_ranks.h"
#include "runtime/memory/disk_pages.h"
#include "runtime/model/generation_config.h"
#include "runtime/model/model_part.h"
#include "scheduler/step_size.h"

namespace longspan {
namespace {

// A GPU is full with more rows than a CPU: those of a chunk that each rank computes, and those that
// go through norms and products together.
// Attention's tiles of 128 rows fill the 132 multiprocessors of a Hopper evenly: 66 tiles times 32
// heads are 16 for each.
constexpr std::int64_t kGpuChunkRows = 66 * 128;
constexpr std::int64_t kGpuBlockRows = kGpuChunkRows;

// Of one rank in a step.
constexpr std::int64_t kCpuStepTokens = 2048;
constexpr std::int64_t kGpuStepTokens = 16384;

// Of each rank, for pages that move.
constexpr int kSparePages = 4;

/// Absent where a prompt is read in one step. Who asks for a chunk has rows for it.
std::optional<std::int64_t> max_step_tokens(Backend backend, const JobOptions& job) {
  if (job.attention.needs_choice()) return std::nullopt;
  const std::int64_t usual = backend == Backend::kCuda ? kGpuStepTokens : kCpuStepTokens;
  if (!job.chunk_tokens) return usual;
  const int ranks = job.random_elastic ? 1 : job.degree;
  const std::int64_t rows = most_rank_rows(*job.chunk_tokens, 1, ranks, job.page_tokens);
  return std::max(usual, rows + job.max_running);
}

/// The ranks that attend with this one, where instances are split so: of the first group, as which
/// the others are taken to be.
ProbedGroup probed_group(Machine& machine, const GenerateOptions& options, const Split& split) {
  const InstanceRanks instances(options.tp);
  ProbedGroup group{.ranks = {},
                    .hosts = {split.hosts.begin(), split.hosts.begin() + split.degree}};
  if (instances.instance_of(machine.rank()) >= split.degree) return group;
  std::vector<int> all(split.degree);
  std::iota(all.begin(), all.end(), 0);
  group.ranks = instances.with_part(all, instances.part_of(machine.rank()));
  return group;
}

/// Of one group.
int degree_of(const GenerateOptions& options, int instances) {
  switch (options.policy.value_or(PolicyKind::kStaticSp)) {
    case PolicyKind::kStaticSp:
      return options.degree.value_or(instances);
    case PolicyKind::kReplicas:
      return 1;
    case PolicyKind::kChunkedPrefill:
      return instances;
  }
  return instances;
}

/// Throws UsageError where the job's `ranks` are too few.
std::vector<int> degrees(const GenerateOptions& options, const ModelConfig& model, int ranks) {
  const int instances = count_instances(options.tp, ranks, model);
  std::vector<int> list = options.compare_degrees;
  if (list.empty()) list.push_back(degree_of(options, instances));
  for (int degree : list) {
    if (degree <= instances) continue;
    const std::int64_t needed = std::int64_t{degree} * options.tp;
    throw UsageError(
        str("degree {} needs {} ranks{}, but the job has {}; start it with mpirun -np {}", degree,
            needed, options.tp > 1 ? str(" (--tp {})", options.tp) : "", ranks, needed));
  }
  return list;
}

/// The first rank of a host speaks for all of it. No refusal: the disk is a cache, and how much of
/// it is free changes.
void warn_of_small_disk(const std::vector<int>& hosts, int rank, const GenerateOptions& options) {
  if (std::ranges::find(hosts, hosts[rank]) - hosts.begin() != rank) return;
  std::error_code unknown;
  const auto room = std::filesystem::space(*options.kv_disk, unknown);
  const auto ranks = std::ranges::count(hosts, hosts[rank]);
  const auto asked = static_cast<std::uint64_t>(*options.kv_disk_bytes);
  if (unknown || asked <= room.available / static_cast<std::uint64_t>(ranks)) return;
  log(LogLevel::kWarning,
      str("--kv-disk-bytes {}{}, but {} has {} free: pages that find no room are computed again",
          human_bytes(*options.kv_disk_bytes), ranks > 1 ? str(" for each of {} ranks", ranks) : "",
          *options.kv_disk, human_bytes(static_cast<std::int64_t>(room.available))));
}

}  // namespace

KvType kv_type(const GenerateOptions& options, Precision precision) {
  return options.kv_type.value_or(precision == Precision::kBFloat16 ? KvType::kBFloat16
                                                                    : KvType::kFloat32);
}

MachineRequest machine_request(const GenerateOptions& options) {
  return {.threads = options.threads,
          .bind = options.bind,
          .backend = options.backend,
          .gpu_link = options.gpu_link,
          .cuda_graphs = options.cuda_graphs,
          .hang_timeout = options.hang_timeout,
          .throttle_link = options.throttle_link,
          .log_level = options.log_level};
}

void expect_kv_disk(Machine& machine, const GenerateOptions& options) {
  if (!options.kv_disk) return;
  agree_on(machine.control(), [&] {
    expect_disk_folder(*options.kv_disk);
    return 0;
  });
  warn_of_small_disk(hosts_of_ranks(machine), machine.rank(), options);
}

std::vector<Split> splits(Machine& machine, const GenerateOptions& options,
                          const ModelConfig& model, int sequences) {
  const std::vector<int> hosts = hosts_of_ranks(machine);
  const InstanceRanks instances(options.tp);
  return agree_on(machine.control(), [&] {
    expect_usable_tp(options.tp, model);
    expect_whole_choices(options.tp, model, approximation(options.attention));
    const HeadShape heads = part_of(model, {.index = 0, .ranks = options.tp}).heads;
    std::vector<Split> list;
    for (int degree : degrees(options, model, machine.size())) {
      const int most = options.compare_degrees.empty() ? sequences : 1;
      const int groups = std::clamp(machine.size() / options.tp / degree, 1, most);
      std::vector<int> of_instances;  // where each has its first rank
      for (int i = 0; i < groups * degree; ++i) {
        of_instances.push_back(hosts[instances.rank_of(i, 0)]);
      }
      const std::vector<int> of_first(of_instances.begin(), of_instances.begin() + degree);
      list.push_back({degree, groups, allowed_strategies(options, heads, of_first), of_instances});
    }
    return list;
  });
}

MachineRates machine_rates(Machine& machine, const GenerateOptions& options,
                           AttentionKernels& kernels, const Split& split) {
  const std::string link = options.throttle_link.value_or("");
  if (split.plans.size() < 2) {
    return default_rates(kernels.isa(), machine.threads(), parse_link_throttle(link));
  }
  const ProbedGroup group = probed_group(machine, options, split);
  return rates_for(machine, kernels, options.calibrate,
                   calibration_key(machine, kernels, group, build_name(), link, options.gpu_link),
                   group, calibration_folder());
}

JobOptions job_options(Machine& machine, const GenerateOptions& options, const Split& split,
                       const MachineRates& rates, Precision precision) {
  JobOptions job{.degree = split.degree,
                 .groups = split.groups,
                 .policy = options.policy.value_or(PolicyKind::kStaticSp),
                 .page_tokens = *options.page_tokens,
                 .layout = dealt_by(options.layout),
                 .chunk_tokens = options.prefill_chunk,
                 .max_step_tokens = options.max_step_tokens,
                 .tbt_target = options.tbt_slo,
                 .keep = options.keep,
                 .kv_type = kv_type(options, precision),
                 .plans = split.plans,
                 .decode_strategy = options.decode_strategy,
                 .attention = approximation(options.attention),
                 .rates = rates,
                 .hosts = split.hosts,
                 .max_running = options.max_num_seqs,
                 .prefix_cache = options.prefix_cache,
                 .hang_timeout = options.hang_timeout,
                 .state_wanted = state_signal_came};
  if (options.memory_limit_bytes) job.memory_limit = *options.memory_limit_bytes;
  job.kv_host_bytes = options.kv_host_bytes;
  if (options.kv_disk) job.kv_disk = KvDisk{*options.kv_disk, *options.kv_disk_bytes};
  if (options.random_elastic) {
    job.random_elastic = static_cast<std::uint64_t>(options.policy_seed);
    job.spare_pages = kSparePages;
    job.move_bandwidth = options.move_bandwidth;
  }
  if (machine.backend() == Backend::kCuda) {
    job.ffn_block_rows = kGpuBlockRows;
    if (!job.chunk_tokens) job.chunk_tokens = kGpuChunkRows * split.degree;
  }
  if (!job.max_step_tokens) job.max_step_tokens = max_step_tokens(machine.backend(), job);
  return job;
}

OpenedModel open_asked(Machine& machine, const GenerateOptions& options) {
  OpenedModel opened = open_model(machine, options.model,
                                  options.no_verify ? ManifestUse::kIgnore : ManifestUse::kCheck,
                                  options.dummy_weights ? LoadFormat::kDummy : LoadFormat::kAuto);
  if (options.rope_float32) opened.config.ropes.use_float32_angles();
  return opened;
}

LoadedModel load_with_bar(Machine& machine, const GenerateOptions& options, OpenedModel opened,
                          Precision precision) {
  LoadModelOptions load{.precision = precision, .tp = options.tp};
  if (options.memory_limit_bytes) load.memory_limit = *options.memory_limit_bytes;
  LoadingBar checking("checking", shows_on_terminal(STDERR_FILENO));
  LoadingBar bar("loading", shows_on_terminal(STDERR_FILENO));
  if (machine.rank() == 0) {
    load.check_progress = [&](std::uint64_t done, std::uint64_t total) {
      checking.bytes(done, total);
    };
    load.progress = [&](std::uint64_t done, std::uint64_t total) { bar.bytes(done, total); };
  }
  return load_model(machine, std::move(opened), load);
}

std::string manifest_word(const GenerateOptions& options, const OpenedModel& opened) {
  return options.no_verify ? "ignored" : opened.manifest ? "checked" : "none";
}

void say_loaded(const GenerateOptions& options, const LoadedModel& model, double seconds,
                const std::string& manifest) {
  if (options.json) return;
  const LoadReport& report = model.weights.report();
  std::cerr << str("longspan: loaded {} in {:.1f} s: {} read at {:.2f} GB/s, {} of weights{}\n",
                   options.model, seconds,
                   human_bytes(static_cast<std::int64_t>(report.file_bytes)),
                   report.gigabytes_per_second(), human_bytes(model.host_weight_bytes),
                   manifest == "checked" ? ", files as the manifest lists them" : "");
}

Sampling make_sampling(const GenerateOptions& options, const Tokenizer& tokenizer) {
  const SamplingOptions& asked = options.sampling;
  const GenerationConfig defaults =
      asked.uses_model_defaults ? generation_config_of(options.model) : GenerationConfig{};
  return resolved(asked, defaults, tokenizer.ends(), options.ignore_eos, tokenizer.vocabulary());
}

RunFacts run_facts(const GenerateOptions& options, const LoadedModel& model, int degree,
                   Precision precision, const Sampling& sampling, double load_s,
                   const std::string& manifest) {
  return {.model = model.config.name,
          .degree = degree,
          .tp = options.tp,
          .layout = std::string(name(options.layout)),
          .dtype = std::string(name(precision)),
          .kv_dtype = std::string(name(kv_type(options, precision))),
          .rope_float32 = options.rope_float32,
          .decode_strategy = std::string(name(options.decode_strategy)),
          .attention = options.attention.kind,
          .sampling = sampling,
          .load_s = load_s,
          .load = model.weights.report(),
          .manifest = manifest};
}

void say_groups(const GenerateOptions& options, const Split& split) {
  if (options.json || (split.groups == 1 && !options.policy)) return;
  std::cerr << str("longspan: {} of {}{} ({})\n",
                   count_text(static_cast<std::size_t>(split.groups), "group"),
                   ranks_text(split.degree, options.tp),
                   split.groups > 1 ? ", each with sequences of its own" : "",
                   options.random_elastic ? "random_elastic"
                                          : name(options.policy.value_or(PolicyKind::kStaticSp)));
}

std::string ranks_text(int degree, int tp) {
  if (tp == 1) return str("{} rank{}", degree, degree == 1 ? "" : "s");
  return str("{} instance{} of {} ranks", degree, degree == 1 ? "" : "s", tp);
}

}  // namespace longspan

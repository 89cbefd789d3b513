#include "runtime/engine/job.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "attention/usable_strategies.h"
#include "comm/agreement.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/log.h"
#include "comm/str.h"
#include "comm/wire.h"
#include "runtime/engine/first_costs.h"
#include "runtime/engine/load_model.h"
#include "runtime/engine/memory_plan.h"
#include "runtime/memory/disk_pages.h"
#include "scheduler/policies/random_elastic.h"

namespace longspan {
namespace {

constexpr int kMaxChunks = 16;  // of a step

std::int64_t step_rows(const JobOptions& options) {
  return options.max_step_tokens.value_or(std::numeric_limits<std::int64_t>::max());
}

/// Of one group.
int max_running(const JobOptions& options) {
  const int share = (options.max_running + options.groups - 1) / options.groups;
  return static_cast<int>(std::min<std::int64_t>(share, step_rows(options)));
}

/// Ranks that compute a chunk, at the least.
int least_degree(const JobOptions& options) { return options.random_elastic ? 1 : options.degree; }

int instances(const JobOptions& options) { return options.degree * options.groups; }

/// Of a chunk, at most: it has rows beside all others that may decode.
std::int64_t chunk_tokens(const JobOptions& options) {
  constexpr std::int64_t kPerRank = 512;  // enough rows for matrix products at full speed
  if (options.attention.needs_choice()) {
    expects(!options.max_step_tokens, "what reads a prompt in one step has rows for all of it");
    return std::numeric_limits<std::int64_t>::max();
  }
  const ChunkRules wanted{.degree = options.degree,
                          .least_degree = least_degree(options),
                          .page_tokens = options.page_tokens,
                          .chunk_tokens = options.chunk_tokens.value_or(kPerRank * options.degree),
                          .step_rows = step_rows(options)};
  return kept_beside(wanted, max_running(options) - 1).chunk_tokens;
}

/// Where what was written before a request went back to waiting is computed again as it was: where
/// keys are rounded, or what is seen depends on where the prompt ends.
bool replays_answers(const JobOptions& options) {
  return options.kv_type != KvType::kFloat32 || !options.attention.is_exact();
}

bool reads_answers(const JobOptions& options, const std::vector<RequestShape>& requests) {
  return !replays_answers(options) && (options.memory == MemoryMode::kUtilize ||
                                       !std::ranges::all_of(requests, &RequestShape::names_limit));
}

/// Of one group: any may be given all requests.
JobShape shape_of(const JobOptions& options, const std::vector<RequestShape>& requests) {
  return {.degree = options.degree,
          .least_degree = least_degree(options),
          .groups = options.groups,
          .page_tokens = options.page_tokens,
          .chunk_tokens = chunk_tokens(options),
          .ffn_block_rows = options.ffn_block_rows,
          .keep = options.keep,
          .kv_type = options.kv_type,
          .max_running = max_running(options),
          .max_chunks = kMaxChunks,
          .step_rows = step_rows(options),
          .spare_pages = options.spare_pages,
          .plans = options.plans,
          .decode_strategies = {options.decode_strategy},
          .attention = options.attention,
          .reads_answers = reads_answers(options, requests),
          .requests = requests};
}

/// Whether what is computed of a prompt depends on nothing behind it: then another prompt that
/// begins so may have it.
bool shares_prefixes(const JobOptions& options, const ModelConfig& config) {
  return options.prefix_cache && options.attention.is_exact() &&
         std::ranges::none_of(config.masks.distinct(), &Mask::is_full);
}

/// None where nothing is cached. One step opens the pages of its chunks, and of rows.
TierShape planned_tier(const LoadedModel& model, const JobOptions& options) {
  if (!options.kv_disk && options.kv_host_bytes == 0) return {};
  if (!shares_prefixes(options, model.config)) {
    log(LogLevel::kWarning,
        "no prompts are shared here, so --kv-host-bytes and --kv-disk keep nothing");
    return {};
  }
  const KvPageShape page{.heads = model.config.heads,
                         .layers = model.config.layers,
                         .page_tokens = options.page_tokens,
                         .type = options.kv_type};
  const std::int64_t chunk =
      (chunk_tokens(options) + options.page_tokens - 1) / options.page_tokens;
  const std::int64_t of_rank =
      options.keep == Retention::kSpread ? (chunk + options.degree - 1) / options.degree : chunk;
  return tier_shape(options.kv_host_bytes, options.kv_disk,
                    static_cast<std::int64_t>(page.page_bytes()), of_rank + of_rank / 2);
}

WorkerMemory planned_memory(const LoadedModel& model, const JobOptions& options,
                            SessionInput& input, std::int64_t left) {
  if (input.room_gives_way) {
    const auto room = longest_room(model.config, shape_of(options, input.shapes), left);
    for (RequestShape& shape : input.shapes) shape.room = room;
  }
  return plan_memory(model.config, shape_of(options, input.shapes), left);
}

/// What the scarcest rank has left, weights loaded.
struct MemoryLeft {
  std::int64_t own = 0;  // of its device
  std::int64_t of_host = 0;
};

MemoryLeft memory_left(Machine& machine, const LoadedModel& model, const JobOptions& options) {
  const std::int64_t own = memory_left_per_rank(machine, model, options.memory_limit);
  if (machine.backend() == Backend::kCpu) return {own, own};
  return {own,
          minimum(machine.control(), available_host_memory() / std::ssize(machine.host_ranks()))};
}

void expect_room(const TierShape& tier, std::int64_t left) {
  if (tier.places() == 0 || tier.host_bytes() <= left) return;
  throw OutOfMemory(
      str("evicted pages take {} of host memory on each rank, {} of it on their way to a disk, but "
          "{} is left for each; lower --kv-host-bytes, or leave out --kv-disk",
          human_bytes(tier.host_bytes()),
          human_bytes(tier.host_bytes() - tier.buffers.kept * tier.page_bytes),
          human_bytes(std::max<std::int64_t>(0, left))));
}

/// Buffers are of the host: on CPUs of the memory that all else is of.
WorkerMemory planned_with_tier(Machine& machine, const LoadedModel& model,
                               const JobOptions& options, SessionInput& input, MemoryLeft left) {
  const TierShape tier = planned_tier(model, options);
  expect_room(tier, left.of_host);
  if (machine.backend() == Backend::kCpu) left.own -= tier.host_bytes();
  WorkerMemory memory = planned_memory(model, options, input, left.own);
  memory.tier = tier;
  return memory;
}

/// Rank 0 plans, everyone learns the plan or the reason why there is none.
WorkerMemory agreed_memory(Machine& machine, const LoadedModel& model, const JobOptions& options,
                           SessionInput* input) {
  const MemoryLeft left = memory_left(machine, model, options);
  std::vector<std::byte> plan = agree_on(machine.control(), [&] {
    WireWriter out;
    if (input) out.put(planned_with_tier(machine, model, options, *input, left));
    return out.take();
  });
  broadcast(machine.control(), plan, 0, Patience::forever());
  return WireReader(plan).read<WorkerMemory>();
}

void say_tier(Machine& machine, const TierShape& tier, std::int64_t page_tokens) {
  log(LogLevel::kInfo,
      str("evicted pages, on each rank: {} of {}host memory; {} tokens stay there, {} on the disk",
          human_bytes(tier.host_bytes()), machine.backend() == Backend::kCpu ? "" : "pinned ",
          tier.buffers.kept * page_tokens, tier.on_disk * page_tokens));
}

/// What the memory of a GPU is taken for, which is hard to see from outside.
void say_plan(Machine& machine, const LoadedModel& model, const WorkerMemory& memory) {
  if (machine.rank() != 0) return;
  if (memory.tier.places() > 0) say_tier(machine, memory.tier, memory.kv.page.page_tokens);
  const auto left = machine.device_memory_left();
  if (!left) return;
  const auto kv = static_cast<std::int64_t>(memory.kv.bytes());
  const std::int64_t all = memory.bytes(model.config);
  log(LogLevel::kInfo,
      str("{}: {} of weights, {} of KV for {} tokens, {} of activations; {} stay free",
          machine.device().description(),
          human_bytes(static_cast<std::int64_t>(model.weights.bytes())), human_bytes(kv),
          memory.kv.pages * memory.kv.page.page_tokens, human_bytes(all - kv),
          human_bytes(*left - all)));
}

/// For a rank of no group, which only waits for the end.
WorkerMemory nothing_but(const KvPageShape& page) {
  return {.kv = {.page = page}, .limits = {.logit_rows = 0}};
}

/// By which a group can be turned so that what is inside a host stays so.
int turn_of_group(const JobOptions& options, const std::vector<int>& group) {
  if (options.hosts.empty()) return 1;
  std::vector<int> hosts;
  for (const int instance : group) hosts.push_back(options.hosts.at(instance));
  const int share = ranks_per_host(hosts);
  if (share == options.degree) return 1;  // all on one host
  return share > 0 ? share : options.degree;
}

/// A chunk's rows see the chunk's own keys as they were computed and those before it rounded. So
/// what a request has of others ends where its own chunks would, or it would see others: where both
/// a page and a chunk end.
std::int64_t hit_pages(const JobOptions& options) {
  if (options.kv_type == KvType::kFloat32) return 1;
  const std::int64_t chunk = chunk_tokens(options);
  return chunk / std::gcd(chunk, options.page_tokens);
}

std::optional<Nanoseconds> target(const JobOptions& options) {
  if (!options.tbt_target) return std::nullopt;
  return std::chrono::nanoseconds(*options.tbt_target).count();
}

/// Nothing where nobody draws.
std::function<std::unique_ptr<StepPolicy>()> step_policy(const JobOptions& options) {
  if (!options.random_elastic) return nullptr;
  return [seed = *options.random_elastic] { return std::make_unique<RandomElastic>(seed); };
}

/// Whether groups have copies of what others have computed. Not between GPUs: their communicators
/// run what was asked for first to its end, so a step would wait for what is to come.
bool copies_prefixes(const Machine& machine, const JobOptions& options, const ModelConfig& config) {
  return options.groups > 1 && machine.backend() == Backend::kCpu &&
         shares_prefixes(options, config);
}

const LinkRate& slowest_link(const JobOptions& options) {
  const bool one_host =
      std::ranges::adjacent_find(options.hosts, std::ranges::not_equal_to{}) == options.hosts.end();
  return one_host ? options.rates.inside_host : options.rates.between_hosts;
}

Nanoseconds copy_time(const JobOptions& options, const KvPageShape& page) {
  const auto bytes = static_cast<std::int64_t>(page.page_bytes());
  return std::max<Nanoseconds>(1, to_nanoseconds(slowest_link(options).seconds(bytes)));
}

/// Then steps wait a tenth of their time at most.
std::int64_t move_bandwidth(const JobOptions& options) {
  constexpr double kShare = 0.1;
  if (options.move_bandwidth) return *options.move_bandwidth;
  const double link = slowest_link(options).bytes_per_second;
  return std::isfinite(link) ? static_cast<std::int64_t>(kShare * link) : 0;
}

/// What groups have in common.
PlannerOptions planner_options(const JobOptions& options, const WorkerMemory& memory,
                               const ModelConfig& config, bool copies) {
  const KvPageShape& page = memory.kv.page;
  return {.page_tokens = options.page_tokens,
          .layout = options.layout,
          .keep = options.keep,
          .whole_pages = options.plans.size() == 1 && !passes_keys(options.plans.front().strategy),
          .chunk_tokens = chunk_tokens(options),
          .max_chunks = memory.limits.chunks,
          .max_running = max_running(options),
          .step_rows = step_rows(options),
          .target = target(options),
          .run_steps = options.random_elastic ? 1 : options.page_tokens,
          .headroom = std::int64_t{options.spare_pages} * options.degree,
          .hit_pages = hit_pages(options),
          .rounds_full_pages = has_scales(options.kv_type),
          .cuts_are_fixed = options.kv_type != KvType::kFloat32 || options.attention.needs_choice(),
          .memory = options.memory,
          .answer_part = options.answer_part,
          .open_answer_part = options.open_answer_part,
          .replays_answers = replays_answers(options),
          .least_degree = least_degree(options),
          .step_policy = step_policy(options),
          .move_bandwidth = move_bandwidth(options),
          .page_bytes = static_cast<std::int64_t>(page.page_bytes()) * config.part.ranks,
          .copy_time = copies ? copy_time(options, page) : 0};
}

GroupSchedule schedule_of(const JobOptions& options, const WorkerMemory& memory,
                          const ModelConfig& config, bool copies) {
  auto policy = make_policy(options.policy, options.degree);
  auto groups = options_of_groups(*policy, planner_options(options, memory, config, copies),
                                  instances(options), memory.kv.pages, memory.tier.places());
  expects(
      std::ssize(groups) == options.groups && std::ssize(groups.front().group) == options.degree,
      "the policy makes the groups that memory is planned for");
  for (PlannerOptions& group : groups) group.turn = turn_of_group(options, group.group);
  return {std::move(policy), std::move(groups)};
}

/// When all requests have ended, none has a page.
void say_what_changed(const GroupSchedule& schedule) {
  ElasticCounts counts;
  std::int64_t in_use = 0;
  for (int group = 0; group < schedule.groups(); ++group) {
    const StepPlanner& planner = schedule.planner(group);
    counts.moves += planner.elastic_counts().moves;
    counts.regroups += planner.elastic_counts().regroups;
    counts.redraws += planner.elastic_counts().redraws;
    const PageCounts& pages = planner.ledger().counts();
    in_use += pages.at(PageState::kLive) + pages.at(PageState::kReserved);
  }
  log(LogLevel::kInfo,
      str("random_elastic: {} pages moved, {} chunks computed by other ranks than the one before, "
          "{} times new owners; {} pages in use",
          counts.moves, counts.regroups, counts.redraws, in_use));
}

StrategyPickerOptions picker_options(Machine& machine, const LoadedModel& model,
                                     const JobOptions& options, const WorkerMemory& memory) {
  const ModelConfig& config = model.config;
  StrategyPickerOptions picker{.plans = options.plans,
                               .planned = memory.limits.strategies,
                               .rates = options.rates,
                               .heads = config.heads,
                               .layers = config.layers,
                               .masks = config.masks,
                               .kv_type = options.kv_type,
                               .attention = options.attention,
                               .page_tokens = options.page_tokens,
                               .hosts = options.hosts,
                               .beside_kernels = machine.data().moves_beside_kernels(),
                               .new_columns = model.kernels->new_columns(options.kv_type)};
  if (picker.hosts.empty()) picker.hosts.resize(instances(options));
  return picker;
}

/// This rank's, if it keeps pages on a disk.
std::unique_ptr<PageStore> store_of(const JobOptions& options, const WorkerMemory& memory) {
  if (memory.tier.on_disk == 0) return nullptr;
  return std::make_unique<DiskPages>(options.kv_disk->folder, memory.kv.page.page_bytes(),
                                     memory.tier.on_disk);
}

}  // namespace

std::vector<RankSummary> run_session(Machine& machine, LoadedModel& model,
                                     const JobOptions& options, SessionInput* input) {
  WorkerMemory memory = agreed_memory(machine, model, options, input);
  say_plan(machine, model, memory);
  const InstanceRanks ranks(model.config.part.ranks);
  expects(machine.size() % ranks.tp() == 0, "every rank belongs to an instance");
  expects(instances(options) * ranks.tp() <= machine.size(), "there are ranks for all groups");
  if (ranks.instance_of(machine.rank()) >= instances(options)) memory = nothing_but(memory.kv.page);
  const bool copies = copies_prefixes(machine, options, model.config);
  const auto worker = agree_on(machine.control(), [&] {
    Worker::Beside beside{.store = store_of(options, memory)};
    if (copies) beside.copies_within = options.hang_timeout;
    return std::make_unique<Worker>(machine, model, memory, std::move(beside));
  });
  ControlChannel control(machine.control(), options.hang_timeout);
  if (!input) {
    follow_coordinator(control, *worker);
    return {};
  }
  Coordinator coordinator(control, *worker, schedule_of(options, memory, model.config, copies),
                          picker_options(machine, model, options, memory), input->listener);
  coordinator.use_for_decode(options.decode_strategy);
  coordinator.write_state_when(options.state_wanted);
  if (options.tbt_target || options.groups > 1) {
    const auto weights = static_cast<std::int64_t>(model.weights.bytes());
    coordinator.price_steps(first_costs(model.config, weights, options.degree, options.rates),
                            options.degree);
  }
  if (shares_prefixes(options, model.config)) {
    coordinator.share_prefixes({.names = PageNames(options.page_tokens, hit_pages(options)),
                                .by_length = model.config.ropes.depend_on_length(),
                                .answers = options.kv_type == KvType::kFloat32});
  }
  input->drive(coordinator);
  if (options.random_elastic) say_what_changed(coordinator.schedule());
  return coordinator.stop();
}

}  // namespace longspan

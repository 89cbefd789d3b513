#include "attention/strategy_probe.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>

#include "attention/calibration.h"
#include "attention/choose_strategy.h"
#include "attention/kv_pages.h"
#include "attention/lower_quartile.h"
#include "attention/prefill_strategies.h"
#include "attention/random_values.h"
#include "attention/strategy_time.h"
#include "comm/agreement.h"
#include "comm/collective.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPage = ProbeGrid::kPageTokens;
// Of a rank, new and cached, on the longest chunk: fewer where that takes too long.
constexpr std::int64_t kNewPages = 8;
constexpr std::int64_t kCachedPages = 32;
constexpr double kLongestSeconds = 15e-3;
// Runs behind one barrier: their common start is then no part of the figure, and layers follow one
// another as in a step.
constexpr double kBatchSeconds = 4e-3;
constexpr int kMostRuns = 16;
constexpr int kLeastRounds = 2;
constexpr int kMostRounds = 50;
constexpr Patience kPrompt{std::chrono::minutes(2), std::chrono::microseconds(50)};

SplitSetting setting_of(const HeadShape& heads, const ProbedGroup& group) {
  return {.heads = heads, .block = kPage, .page_tokens = kPage, .hosts = group.hosts};
}

/// Each strategy as it is most promising; none that nobody would choose.
std::vector<PlannedStrategy> plans_of(const HeadShape& heads, const ProbedGroup& group) {
  const SplitSetting setting = setting_of(heads, group);
  std::vector<PlannedStrategy> plans;
  for (Strategy strategy : kStrategies) {
    const auto usable = usable_plans(strategy, setting);
    if (usable.empty() || !pointless(usable.front(), setting, true).empty()) continue;
    plans.push_back(usable.front());
  }
  return plans;
}

/// So many pages before the chunk, and so many of it, dealt round the group.
struct Shape {
  std::int64_t cached_pages;
  std::int64_t new_pages;

  Deal deal(int ranks) const {
    return {
        .first = cached_pages * kPage, .count = new_pages * kPage, .ranks = ranks, .block = kPage};
  }
  SequenceStorage storage(int ranks) const {
    SequenceStorage spread{.page_tokens = kPage, .owners = {}, .slots = {}};
    for (std::int64_t page = 0; page < cached_pages + new_pages; ++page) {
      spread.owners.push_back(static_cast<int>(page % ranks));
    }
    return spread;
  }
};

/// The longest chunk of a grid.
Shape longest(const ProbeGrid& grid) { return {grid.cached_pages.back(), grid.new_pages.back()}; }

/// Of pages: what kernels make of new columns at best, so that they round none that they are given.
KvType pages_type(const AttentionKernels& kernels) {
  return kernels.new_columns(KvType::kBFloat16);
}

WireShape wire_of(const AttentionKernels& kernels) {
  const KvType type = pages_type(kernels);
  return {.heads = kernels.shape(), .at_rest = type, .narrow_columns = type == KvType::kBFloat16};
}

PrefillLimits limits_of(const Shape& shape, int ranks, KvType type) {
  const auto share = [ranks](std::int64_t pages) { return (pages + ranks - 1) / ranks * kPage; };
  return {.rows = share(shape.new_pages),
          .columns = share(shape.new_pages) + share(shape.cached_pages),
          .all_rows = shape.new_pages * kPage,
          .all_columns = (shape.new_pages + shape.cached_pages) * kPage,
          .ranks = ranks,
          .kv_type = type,
          .page_tokens = kPage};
}

double modelled(const PlannedStrategy& plan, const Shape& shape, const WireShape& wire,
                const ProbedGroup& group, const MachineRates& rates) {
  const SplitShape split = split_shape(shape.deal(group.degree()), kPage);
  return modelled_seconds(plan, split, wire, group.hosts, rates);
}

/// The largest of all ranks' values, on every rank.
double largest(Communicator& control, double seconds) {
  return -1e-9 * static_cast<double>(minimum(control, -std::llround(seconds * 1e9)));
}

/// The memory of a rank that takes part, and one chunk at a time.
class Member {
 public:
  Member(Machine& machine, AttentionKernels& kernels, const ProbedGroup& group,
         const std::vector<PlannedStrategy>& plans, const PrefillLimits& limits)
      : kernels_(kernels),
        device_(machine.device()),
        group_(machine.data(), group.ranks),
        compute_(device_.new_stream()),
        pages_(filled(limits.columns * kernels.shape().kv_values(), limits.kv_type)),
        q_(filled(limits.rows * query_values(kernels.shape()))),
        acc_(filled(limits.rows * query_values(kernels.shape()))),
        m_(filled(limits.rows * kernels.shape().query_heads)),
        l_(filled(limits.rows * kernels.shape().query_heads)),
        strategies_(device_, kernels, limits, set_of(plans)) {}

  void take(const Shape& shape) {
    SequenceStorage storage = shape.storage(group_.size());
    for (int slot = 0; slot < std::ranges::count(storage.owners, group_.rank()); ++slot) {
      storage.slots.push_back(slot);
    }
    chunk_ = make_split_chunk(shape.deal(group_.size()), group_.rank(), storage);
  }

  /// Layers of the chunk, one after another; over when it returns.
  void run(Strategy strategy, int layers) {
    PrefillAttention& attention = strategies_.use(strategy);
    const KvPages pages(
        pages_at(pages_.bytes().data(), pages_type(kernels_), kernels_.shape(), kPage));
    for (int layer = 0; layer < layers; ++layer) {
      attention.run(*compute_, group_, chunk_, pages, q_.as<float>().data(),
                    {acc_.as<float>().data(), m_.as<float>().data(), l_.as<float>().data()});
    }
    compute_->synchronize();
  }

 private:
  static StrategySet set_of(const std::vector<PlannedStrategy>& plans) {
    StrategySet set;
    for (const PlannedStrategy& plan : plans) set.insert(plan);
    return set;
  }
  Buffer filled(std::int64_t values, KvType type = KvType::kFloat32) {
    return random_values(device_, *compute_, values, 7, type);
  }

  AttentionKernels& kernels_;
  Device& device_;
  const Group group_;
  std::unique_ptr<Stream> compute_;
  Buffer pages_, q_, acc_, m_, l_;
  PrefillStrategies strategies_;
  SplitChunk chunk_;
};

/// All ranks of the machine go through the same rounds; some have no member.
class Rounds {
 public:
  Rounds(Machine& machine, Member* member, const std::vector<PlannedStrategy>& plans)
      : machine_(machine), member_(member), plans_(plans) {}

  /// Of each plan, of the slowest rank. The plans take turns.
  std::vector<double> measure(const Shape& shape, double seconds) {
    if (member_ != nullptr) member_->take(shape);
    std::vector<int> runs;
    double round = 0;
    for (const PlannedStrategy& plan : plans_) {
      batch(plan, 1);  // caches, page faults, workspaces
      const double expected = std::max(largest(machine_.control(), batch(plan, 1)), 1e-9);
      runs.push_back(static_cast<int>(std::clamp(kBatchSeconds / expected, 1.0, 1.0 * kMostRuns)));
      round += expected * runs.back();
    }
    const int rounds =
        static_cast<int>(std::clamp(seconds / round, 1.0 * kLeastRounds, 1.0 * kMostRounds));
    std::vector<std::vector<double>> times(plans_.size());
    for (int i = 0; i < rounds; ++i) {
      for (std::size_t p = 0; p < plans_.size(); ++p) {
        times[p].push_back(batch(plans_[p], runs[p]));
      }
    }
    std::vector<double> slowest;
    for (const std::vector<double>& mine : times) {
      slowest.push_back(largest(machine_.control(), lower_quartile(mine)));
    }
    return slowest;
  }

 private:
  /// Seconds of one of `runs` on this rank.
  double batch(const PlannedStrategy& plan, int runs) {
    barrier(machine_.control(), kPrompt);
    const auto start = Clock::now();
    if (member_ != nullptr) member_->run(plan.strategy, runs);
    return std::chrono::duration<double>(Clock::now() - start).count() / runs;
  }

  Machine& machine_;
  Member* const member_;
  const std::vector<PlannedStrategy>& plans_;
};

}  // namespace

std::optional<int> ProbedGroup::index_of(int rank) const {
  const auto at = std::ranges::find(ranks, rank);
  if (at == ranks.end()) return std::nullopt;
  return static_cast<int>(at - ranks.begin());
}

ProbedGroup whole_group(Machine& machine) {
  ProbedGroup group{.ranks = std::vector<int>(machine.size()), .hosts = hosts_of_ranks(machine)};
  std::iota(group.ranks.begin(), group.ranks.end(), 0);
  return group;
}

std::vector<int> head_parts(const HeadShape& heads, const ProbedGroup& group) {
  std::vector<int> parts;
  for (const PlannedStrategy& plan : plans_of(heads, group)) {
    if (plan.strategy == Strategy::kUlysses) parts.push_back(group.degree());
    if (plan.strategy == Strategy::kUsp) parts.push_back(plan.inner);
  }
  std::ranges::sort(parts);
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  std::erase(parts, 1);
  return parts;
}

ProbeGrid probe_grid(const HeadShape& heads, const ProbedGroup& group, const MachineRates& rates) {
  const std::int64_t ranks = group.degree();
  const std::vector<PlannedStrategy> plans = plans_of(heads, group);
  const auto seconds = [&](const Shape& shape) {
    double most = 0;
    for (const PlannedStrategy& plan : plans) {
      most = std::max(most, modelled(plan, shape, {heads}, group, rates));
    }
    return most;
  };
  std::int64_t added = kNewPages, cached = kCachedPages;
  while (cached > 1 && seconds({cached * ranks, added * ranks}) > kLongestSeconds) {
    added = std::max<std::int64_t>(1, added / 2);
    cached /= 2;
  }
  ProbeGrid grid{.new_pages = {1, ranks}, .cached_pages = {0, ranks}};
  if (added > 1) grid.new_pages.push_back(added * ranks);
  if (cached > 1) grid.cached_pages.push_back(cached * ranks);
  return grid;
}

void probe_strategies(Machine& machine, AttentionKernels& kernels, const ProbedGroup& group,
                      std::chrono::duration<double> seconds, MachineRates& rates) {
  if (group.degree() < 2) return;
  const std::vector<PlannedStrategy> plans = plans_of(kernels.shape(), group);
  rates.grid = probe_grid(kernels.shape(), group, rates);
  const PrefillLimits limits = limits_of(longest(rates.grid), group.degree(), pages_type(kernels));
  const auto member = agree_on(machine.control(), [&]() -> std::unique_ptr<Member> {
    if (group.ranks.empty()) return nullptr;
    return std::make_unique<Member>(machine, kernels, group, plans, limits);
  });
  std::vector<ProbedStrategy> probed;
  for (const PlannedStrategy& plan : plans) probed.push_back({.plan = plan, .chunks = {}});
  Rounds rounds(machine, member.get(), plans);
  const double each = seconds.count() / static_cast<double>(rates.grid.size());
  for (std::int64_t added : rates.grid.new_pages) {
    for (std::int64_t cached : rates.grid.cached_pages) {
      const Shape shape{cached, added};
      const std::vector<double> measured = rounds.measure(shape, each);
      for (std::size_t i = 0; i < plans.size(); ++i) {
        const double says = modelled(plans[i], shape, wire_of(kernels), group, rates);
        probed[i].chunks.push_back({measured[i], says});
      }
    }
  }
  rates.probed = std::move(probed);
}

}  // namespace longspan

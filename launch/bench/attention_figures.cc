#include "launch/bench/attention_figures.h"

#include <algorithm>
#include <numeric>

#include "attention/calibration.h"
#include "attention/prefill_strategies.h"
#include "attention/strategy_time.h"
#include "comm/agreement.h"
#include "comm/error.h"
#include "launch/bench/attention_workload.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/matrix_yardstick.h"
#include "launch/bench/rank_clock.h"
#include "launch/version.h"
#include "runtime/engine/calibration_cache.h"
#include "runtime/engine/load_model.h"
#include "scheduler/placement.h"

namespace longspan {
namespace {

std::vector<int> first_ranks(int count) {
  std::vector<int> ranks(count);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

KvPageShape page_of(const BenchAttentionOptions& options, KvType type) {
  return {.heads = options.heads, .page_tokens = options.page(), .type = type};
}

/// What pages hold where nobody says: what a model's keys would be.
KvType keys_of(Machine& machine, Precision precision) {
  const bool narrow = machine.backend() == Backend::kCuda && precision == Precision::kBFloat16;
  return narrow ? KvType::kBFloat16 : KvType::kFloat32;
}

std::int64_t memory_bytes(const AttentionRoom& room, const BenchAttentionOptions& options,
                          KvType keys) {
  const HeadShape& heads = options.heads;
  std::size_t bytes = PrefillStrategies::memory_bytes(heads, room.alone, {PlannedStrategy{}});
  for (const StrategySet& set : room.strategies) {
    bytes += PrefillStrategies::memory_bytes(heads, room.limits, set);
  }
  return AttentionWorkload::memory_bytes(std::max(room.limits.rows, room.alone.rows), room.pages,
                                         page_of(options, keys)) +
         static_cast<std::int64_t>(bytes);
}

/// What the ideal of the longest chunk needs at least, before anything as long as it is made.
std::int64_t least_bytes(const BenchAttentionOptions& options) {
  std::int64_t columns = 0;
  for (const AskedChunk& size : chunk_sizes(options)) {
    columns = std::max(columns, size.cached + size.tokens / 2);
  }
  return columns * options.heads.kv_values() * static_cast<std::int64_t>(sizeof(float));
}

constexpr const char* kAdvice = "lower --tokens or --cached, or --heads";

}  // namespace

/// The memory of a rank that takes part.
class AttentionBench::Member {
 public:
  Member(Machine& machine, AttentionKernels& kernels, const AttentionRoom& room, int degree,
         const KvPageShape& page)
      : group(machine.data(), first_ranks(degree)),
        alone(machine.data(), {machine.rank()}),
        work(machine.device(), kernels, std::max(room.limits.rows, room.alone.rows),
             static_cast<int>(room.pages), page),
        own_strategy(machine.device(), kernels, room.alone, {PlannedStrategy{}}),
        sets_(room.strategies) {
    for (const StrategySet& set : sets_) {
      strategies_.push_back(
          std::make_unique<PrefillStrategies>(machine.device(), kernels, room.limits, set));
    }
  }

  PrefillAttention& use(const PlannedStrategy& plan) {
    const auto set = std::ranges::find_if(
        sets_, [&](const StrategySet& candidate) { return candidate.contains(plan); });
    expects(set != sets_.end(), "there is room for every plan");
    return strategies_[set - sets_.begin()]->use(plan.strategy);
  }

  const Group group;
  const Group alone;
  AttentionWorkload work;
  PrefillStrategies own_strategy;

 private:
  const std::vector<StrategySet> sets_;
  std::vector<std::unique_ptr<PrefillStrategies>> strategies_;
};

const StrategyFigure& AttentionFigure::of_chosen() const {
  const auto at = std::ranges::find(strategies, chosen, &StrategyFigure::plan);
  expects(at != strategies.end(), "what is chosen is measured");
  return *at;
}

const StrategyFigure& AttentionFigure::fastest() const {
  return *std::ranges::min_element(strategies, {},
                                   [](const StrategyFigure& one) { return one.time.seconds; });
}

Regret regret_of(const std::vector<AttentionFigure>& figures) {
  Regret regret;
  for (const AttentionFigure& figure : figures) {
    regret.worst = std::max(regret.worst, figure.regret());
    regret.mean += figure.regret() / static_cast<double>(figures.size());
  }
  return regret;
}

AttentionBench::AttentionBench(Machine& machine, const BenchAttentionOptions& options, int degree)
    : machine_(machine), options_(options), precision_(agreed_precision(machine, options.dtype)) {
  expect_memory(machine, least_bytes(options), kAdvice);
  group_.hosts = hosts_of_ranks(machine);
  group_.hosts.resize(degree);
  if (machine.rank() < degree) group_.ranks = first_ranks(degree);
  cases_ = agree_on(machine.control(), [&] { return attention_cases(options, group_.hosts); });
  AttentionRoom room = room_for(cases_);
  const KvType keys = keys_of(machine, precision_);
  room.limits.kv_type = room.alone.kv_type = keys;
  expect_memory(machine, memory_bytes(room, options, keys), kAdvice);
  agree_on(machine.control(), [&] {
    kernels_ = new_kernels(machine, options.heads, precision_);
    for (AttentionCase& one : cases_) {
      one.setting.beside_kernels = machine.data().moves_beside_kernels();
      one.setting.new_columns = kernels_->new_columns(keys);
    }
    if (machine.rank() < degree) {
      member_ = std::make_unique<Member>(machine, *kernels_, room, degree, page_of(options, keys));
    }
    return true;
  });
}

AttentionBench::~AttentionBench() = default;

std::string AttentionBench::isa() const { return std::string(kernels_->isa()); }

void AttentionBench::run(const std::atomic<bool>& interrupted,
                         const std::function<void(const AttentionFigure&)>& done) {
  const auto usual =
      machine_.backend() == Backend::kCuda ? CalibrationEffort::kOff : CalibrationEffort::kQuick;
  rates_ = rates_for(machine_, *kernels_, options_.calibrate.value_or(usual),
                     calibration_key(machine_, *kernels_, group_, build_name(),
                                     options_.throttle_link.value_or(""), options_.gpu_link),
                     group_, calibration_folder());
  for (const AttentionCase& one : cases_) {
    if (any_rank(machine_.control(), interrupted)) return;
    done(measure(one));
  }
}

AttentionFigure AttentionBench::measure(const AttentionCase& one) {
  const StrategyQuestion question = one.question();
  const StrategyChoice choice = one.choice(rates_);
  AttentionFigure figure{.size = one.size,
                         .layout = one.deal.layout,
                         .degree = one.deal.ranks,
                         .shape = one.shape,
                         .ideal = {},
                         .strategies = {},
                         .chosen = choice.plan,
                         .reason = choice.reason,
                         .rematch = std::nullopt};
  const auto predict = [&](auto seconds, const PlannedStrategy& plan) {
    return seconds(plan, one.shape, question.wire(), one.setting.hosts, rates_);
  };
  RankClock clock(machine_, options_.seconds);
  std::vector<RankClock::Runs> rivals{ideal_runs(one)};
  for (const PlannedStrategy& plan : one.plans) {
    if (options_.strategies.chosen_only && plan != choice.plan) continue;
    figure.strategies.push_back({.plan = plan,
                                 .time = {},
                                 .predicted_seconds = predict(predicted_seconds, plan),
                                 .modelled_seconds = predict(modelled_seconds, plan)});
    rivals.push_back(runs_of(one, plan));
  }
  const std::vector<Timing> timings = clock.time_in_turn(rivals);
  figure.ideal = timings.front();
  for (std::size_t i = 1; i < timings.size(); ++i) figure.strategies[i - 1].time = timings[i];
  if (figure.fastest().plan != choice.plan) {
    const std::vector<Timing> again =
        clock.time_in_turn({runs_of(one, choice.plan), runs_of(one, figure.fastest().plan)});
    figure.rematch = Rematch{again[0], again[1]};
  }
  return figure;
}

RankClock::Runs AttentionBench::runs_of(const AttentionCase& one, const PlannedStrategy& plan) {
  if (!member_) return [](int) {};
  AttentionWorkload& work = member_->work;
  const int rank = member_->group.rank();
  const auto chunk = std::make_shared<const SplitChunk>(
      make_split_chunk(one.deal, rank, one.storage(rank, work.slots())));
  PrefillAttention& attention = member_->use(plan);
  work.write_own_keys(attention, *chunk);
  return [&work, &attention, &group = member_->group, chunk](int n) {
    for (int i = 0; i < n; ++i) work.attend(attention, group, *chunk);
    work.compute().synchronize();
  };
}

/// The rank attends as many pairs as an even share of the chunk has, with as many rows, and all
/// keys are its own.
RankClock::Runs AttentionBench::ideal_runs(const AttentionCase& one) {
  const int ranks = one.deal.ranks;
  const AskedChunk share =
      member_ ? even_share(one.size, member_->group.rank(), ranks) : AskedChunk{0, 0};
  if (share.tokens == 0) return [](int) {};
  AttentionWorkload& work = member_->work;
  const Deal deal{.layout = Layout::kContiguous, .first = share.cached, .count = share.tokens};
  const auto pages =
      static_cast<std::size_t>(pages_for(share.cached + share.tokens, options_.page()));
  const SequenceStorage storage{.page_tokens = options_.page(),
                                .owners = std::vector<int>(pages, 0),
                                .slots = {work.slots().begin(), work.slots().begin() + pages}};
  const auto chunk = std::make_shared<const SplitChunk>(make_split_chunk(deal, 0, storage));
  PrefillAttention& attention = member_->own_strategy.use(Strategy::kRing);
  work.write_own_keys(attention, *chunk);
  return [&work, &attention, &alone = member_->alone, chunk](int n) {
    for (int i = 0; i < n; ++i) work.attend(attention, alone, *chunk);
    work.compute().synchronize();
  };
}

std::optional<MatrixFigure> AttentionBench::matrix_product() {
  if (cases_.front().deal.ranks > 1 || machine_.backend() == Backend::kCuda) return std::nullopt;
  RankClock clock(machine_, options_.seconds);
  if (!member_) return MatrixFigure{clock.time([](int) {}), MatrixYardstick::flop()};
  const std::unique_ptr<ModelOps> ops = new_cpu_model_ops(precision_);
  MatrixYardstick product(machine_.device(), *ops);
  Stream& stream = member_->work.compute();
  const Timing time = clock.time(stream, [&] { product.enqueue(stream); });
  return MatrixFigure{time, MatrixYardstick::flop()};
}

}  // namespace longspan

#include "launch/bench/decode_figures.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "attention/decode_strategies.h"
#include "comm/agreement.h"
#include "comm/group.h"
#include "launch/bench/attention_workload.h"
#include "launch/bench/bench_machine.h"
#include "launch/bench/memory_yardsticks.h"
#include "launch/bench/rank_clock.h"

namespace longspan {
namespace {

/// Of one rank; more than a cache holds.
std::size_t yardstick_bytes(Machine& machine) {
  constexpr std::size_t kMega = 1 << 20;
  return (machine.backend() == Backend::kCuda ? 1024 : 128) * kMega;
}

/// The largest of all cases.
struct DecodeRoom {
  int rows = 1;
  std::int64_t pages = 1;  // of one rank
};

DecodeRoom room_for(const std::vector<DecodeCase>& cases) {
  DecodeRoom room;
  for (const DecodeCase& one : cases) {
    room.rows = std::max(room.rows, one.rows);
    for (int rank = 0; rank < one.ranks; ++rank) {
      room.pages = std::max(room.pages, one.pages(rank));
    }
  }
  return room;
}

KvPageShape page_of(const BenchDecodeOptions& options) {
  return {
      .heads = options.heads, .layers = 1, .page_tokens = options.page(), .type = options.keys()};
}

DecodeStrategySet set_of(const std::vector<DecodeStrategy>& strategies) {
  DecodeStrategySet set;
  for (DecodeStrategy strategy : strategies) set.insert(strategy);
  return set;
}

std::vector<int> first_ranks(int count) {
  std::vector<int> ranks(count);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace

/// The memory of a rank that takes part.
class DecodeBench::Member {
 public:
  Member(Machine& machine, AttentionKernels& kernels, const BenchDecodeOptions& options,
         const DecodeRoom& room, int degree)
      : group(machine.data(), first_ranks(degree)),
        work(machine.device(), kernels, room.rows, static_cast<int>(room.pages), page_of(options)),
        strategies(machine.device(), kernels, {.rows = room.rows, .ranks = degree},
                   set_of(options.strategies)) {}

  const Group group;
  AttentionWorkload work;
  const DecodeStrategies strategies;
};

DecodeBench::DecodeBench(Machine& machine, const BenchDecodeOptions& options, int degree)
    : machine_(machine), options_(options), cases_(decode_cases(options, degree)) {
  const DecodeRoom room = room_for(cases_);
  const std::int64_t bytes =
      AttentionWorkload::memory_bytes(room.rows, room.pages, page_of(options)) +
      static_cast<std::int64_t>(2 * yardstick_bytes(machine) +
                                DecodeStrategies::memory_bytes(options.heads,
                                                               {.rows = room.rows, .ranks = degree},
                                                               set_of(options.strategies)));
  expect_memory(machine, bytes, "lower --context or --rows, or --heads");
  // As a model's would be: of two bytes where its keys are.
  const Precision precision =
      options.keys() == KvType::kBFloat16 && machine.backend() == Backend::kCuda
          ? Precision::kBFloat16
          : Precision::kFloat32;
  agree_on(machine.control(), [&] {
    kernels_ = new_kernels(machine, options.heads, precision);
    if (machine.rank() < degree) {
      member_ = std::make_unique<Member>(machine, *kernels_, options, room, degree);
    }
    return true;
  });
}

DecodeBench::~DecodeBench() = default;

std::string DecodeBench::isa() const { return std::string(kernels_->isa()); }

double DecodeBench::memory_bytes_per_second() {
  const auto memory = agree_on(machine_.control(), [&] {
    return member_ ? std::make_unique<MemoryYardstick>(machine_, yardstick_bytes(machine_))
                   : nullptr;
  });
  const Timing timing = RankClock(machine_, options_.seconds).time([&](int count) {
    if (memory) memory->move(count);
  });
  return MemoryYardstick::bytes_moved(machine_, yardstick_bytes(machine_)) / timing.seconds;
}

void DecodeBench::run(const std::atomic<bool>& interrupted,
                      const std::function<void(const DecodeFigure&)>& done) {
  for (const DecodeCase& one : cases_) {
    if (any_rank(machine_.control(), interrupted)) return;
    done(measure(one));
  }
}

DecodeFigure DecodeBench::measure(const DecodeCase& one) {
  const auto keys = static_cast<double>(one.context * one.rows);
  DecodeFigure figure{
      .context = one.context,
      .rows = one.rows,
      .keys = one.keys,
      .bytes_per_rank =
          keys * static_cast<double>(options_.heads.kv_values() * value_bytes(options_.keys())) /
          one.ranks,
      .alone = {},
      .strategies = {}};
  // Alone first, then each strategy.
  std::vector<RankClock::Runs> rivals(1 + options_.strategies.size(), [](int) {});
  std::optional<DecodeBatch> batch;
  if (member_) {
    AttentionWorkload& work = member_->work;
    batch = one.batch(member_->group.rank(), work.slots());
    rivals[0] = RankClock::runs_on(work.compute(), [&] { work.decode_own(*batch); });
    for (std::size_t i = 0; i < options_.strategies.size(); ++i) {
      DecodeAttention& attention = member_->strategies.use(options_.strategies[i]);
      rivals[1 + i] = RankClock::runs_on(work.compute(),
                                         [&] { work.decode(attention, member_->group, *batch); });
    }
  }
  // In turn: a share compares what the machine did at the same time.
  const std::vector<Timing> timings = RankClock(machine_, options_.seconds).time_in_turn(rivals);
  figure.alone = timings[0];
  for (std::size_t i = 0; i < options_.strategies.size(); ++i) {
    figure.strategies.push_back({options_.strategies[i], timings[1 + i]});
  }
  return figure;
}

}  // namespace longspan

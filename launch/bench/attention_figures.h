// What `longspan bench attention` measures: each chunk by each legal strategy, beside an even share
// of the same work without messages, and beside what the cost model says. Strategies and yardstick
// take turns. Of several figures that scatter the least is too small, so that the chosen strategy
// and the one that came out fastest meet once more, and regret is what that shows.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/strategy_probe.h"
#include "comm/machine.h"
#include "launch/bench/attention_cases.h"
#include "launch/bench/rank_clock.h"
#include "launch/bench/timing.h"

namespace longspan {

struct StrategyFigure {
  PlannedStrategy plan;
  Timing time;
  double predicted_seconds = 0;
  double modelled_seconds = 0;  // the same without what was probed
};

/// The chosen strategy and the fastest, measured again, in turn.
struct Rematch {
  Timing chosen;
  Timing fastest;
};

struct AttentionFigure {
  AskedChunk size;
  Layout layout{};
  int degree = 1;
  SplitShape shape;
  Timing ideal;  // yardstick
  std::vector<StrategyFigure> strategies;
  PlannedStrategy chosen;  // by the cost model, of those measured
  std::string reason;
  std::optional<Rematch> rematch;  // if another than the chosen one came out fastest

  double share_of_ideal(const StrategyFigure& one) const {
    return ideal.seconds / one.time.seconds;
  }
  /// The figure of what was chosen, and the fastest.
  const StrategyFigure& of_chosen() const;
  const StrategyFigure& fastest() const;
  /// How much longer what was chosen took than the fastest, over the fastest, in their rematch;
  /// nothing if it won there.
  double regret() const {
    return rematch ? std::max(0.0, rematch->chosen.seconds / rematch->fastest.seconds - 1) : 0;
  }
};

/// Over all chunks.
struct Regret {
  double worst = 0;
  double mean = 0;
};
Regret regret_of(const std::vector<AttentionFigure>& figures);

/// A large matrix product with the threads of one rank.
struct MatrixFigure {
  Timing time;
  double flop = 0;

  double flop_per_second() const { return flop / time.seconds; }
};

/// Everything that is refused is refused before anything is allocated.
class AttentionBench {
 public:
  /// All ranks call it, with the same options. Throws UsageError, OutOfMemory, on all of them.
  AttentionBench(Machine& machine, const BenchAttentionOptions& options, int degree);
  ~AttentionBench();

  Precision precision() const { return precision_; }
  /// "avx512": the kernels'.
  std::string isa() const;
  /// Measures, or reads, the cost model's constants; then all chunks, and gives each to `done`.
  /// Stops between two chunks, on all ranks, when any is interrupted.
  void run(const std::atomic<bool>& interrupted,
           const std::function<void(const AttentionFigure&)>& done);
  /// What run() predicts with.
  const MachineRates& rates() const { return rates_; }
  /// The yardstick of one CPU rank alone; nothing with several, or on GPUs.
  std::optional<MatrixFigure> matrix_product();

 private:
  class Member;

  AttentionFigure measure(const AttentionCase& one);
  RankClock::Runs runs_of(const AttentionCase& one, const PlannedStrategy& plan);
  RankClock::Runs ideal_runs(const AttentionCase& one);

  Machine& machine_;
  const BenchAttentionOptions& options_;
  ProbedGroup group_;
  std::vector<AttentionCase> cases_;
  std::unique_ptr<AttentionKernels> kernels_;
  Precision precision_;
  MachineRates rates_;
  std::unique_ptr<Member> member_;  // none on a rank that does not take part
};

}  // namespace longspan

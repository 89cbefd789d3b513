// What `longspan bench attention` measures: each chunk by each legal strategy, beside an even share
// of the same work without messages, and beside what the cost model says.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/machine.h"
#include "launch/bench/attention_cases.h"
#include "launch/bench/timing.h"

namespace longspan {

struct StrategyFigure {
  PlannedStrategy plan;
  Timing time;
  double predicted_seconds = 0;
};

struct AttentionFigure {
  ChunkSize size;
  Layout layout{};
  int degree = 1;
  Timing ideal;  // yardstick
  std::vector<StrategyFigure> strategies;
  PlannedStrategy chosen;  // by the cost model, of those measured
  std::string reason;

  double share_of_ideal(const StrategyFigure& one) const {
    return ideal.seconds / one.time.seconds;
  }
  /// The figure of what was chosen, and the fastest.
  const StrategyFigure& of_chosen() const;
  const StrategyFigure& fastest() const;
  /// How much longer what was chosen took than the fastest, over the fastest.
  double regret() const { return of_chosen().time.seconds / fastest().time.seconds - 1; }
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
  /// The yardstick of one rank alone; nothing with several.
  std::optional<MatrixFigure> matrix_product();

 private:
  class Member;

  AttentionFigure measure(const AttentionCase& one);
  Timing ideal(const AttentionCase& one);
  Timing time(const AttentionCase& one, const PlannedStrategy& plan);

  Machine& machine_;
  const BenchAttentionOptions& options_;
  std::vector<AttentionCase> cases_;
  std::unique_ptr<AttentionKernels> kernels_;
  Precision precision_;
  MachineRates rates_;
  std::unique_ptr<Member> member_;  // none on a rank that does not take part
};

}  // namespace longspan

// What `longspan bench decode` measures: attention of a step's rows by each decode strategy, beside
// what the ranks read of memory, and beside the same keys attended without messages.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attention/kernels.h"
#include "comm/machine.h"
#include "launch/bench/decode_cases.h"
#include "launch/bench/timing.h"

namespace longspan {

struct DecodeStrategyFigure {
  DecodeStrategy strategy{};
  Timing time;  // of one layer
};

struct DecodeFigure {
  std::int64_t context = 1;
  int rows = 1;
  RowKeys keys = RowKeys::kOwn;
  double bytes_per_rank = 0;  // of keys and values that rows see, on average
  Timing alone;               // yardstick: each rank attends what it owns, without messages
  std::vector<DecodeStrategyFigure> strategies;

  double bytes_per_second(const DecodeStrategyFigure& one) const {
    return bytes_per_rank / one.time.seconds;
  }
  double share_of_alone(const DecodeStrategyFigure& one) const {
    return alone.seconds / one.time.seconds;
  }
};

/// Everything that is refused is refused before anything is allocated.
class DecodeBench {
 public:
  /// All ranks call it, with the same options. Throws OutOfMemory, on all of them.
  DecodeBench(Machine& machine, const BenchDecodeOptions& options, int degree);
  ~DecodeBench();

  /// "avx512": the kernels'.
  std::string isa() const;
  /// Bytes per second that each rank moves of its memory while all do (MemoryYardstick).
  double memory_bytes_per_second();
  /// Gives each step's figures to `done`. Stops between two steps, on all ranks, when any is
  /// interrupted.
  void run(const std::atomic<bool>& interrupted,
           const std::function<void(const DecodeFigure&)>& done);

 private:
  class Member;

  DecodeFigure measure(const DecodeCase& one);

  Machine& machine_;
  const BenchDecodeOptions& options_;
  std::vector<DecodeCase> cases_;
  std::unique_ptr<AttentionKernels> kernels_;
  std::unique_ptr<Member> member_;  // none on a rank that does not take part
};

}  // namespace longspan

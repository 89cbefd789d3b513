// How fast this machine attends, copies, merges and sends: the constants of the time model; and how
// far the model is out on small chunks.
//
// Measured by calibrate() or assumed by default_rates(). They are rates of the slowest rank while
// all ranks work, which is what the slowest rank of a step will see.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "attention/strategy.h"
#include "comm/link_throttle.h"

namespace longspan {

/// A message of b bytes takes latency_seconds + b / bytes_per_second, while the opposite direction
/// is busy as well.
struct LinkRate {
  double latency_seconds = 0;
  double bytes_per_second = std::numeric_limits<double>::infinity();

  double seconds(std::int64_t bytes) const {
    return latency_seconds + static_cast<double>(bytes) / bytes_per_second;
  }
};

/// What a rank's attention kernel does with so many query rows against long keys that all see.
struct AttentionRate {
  std::int64_t rows = 1;
  double flops_per_second = 0;
};

/// The same with one of so many equal parts of the heads: fewer heads keep fewer threads busy.
struct SlicedAttention {
  int parts = 2;
  std::vector<AttentionRate> rates;
};

/// The small chunks that strategies were run on: each number of new pages behind each number of
/// cached ones, dealt round the ranks from the first on.
struct ProbeGrid {
  static constexpr std::int64_t kPageTokens = 16;

  std::vector<std::int64_t> new_pages;     // of all ranks; they rise
  std::vector<std::int64_t> cached_pages;  // the same

  std::size_t size() const { return new_pages.size() * cached_pages.size(); }
};

/// What such a chunk took, and what the model says of it without this knowledge.
struct ProbedChunk {
  double measured_seconds = 0;
  double modelled_seconds = 0;
};

/// A strategy that was run on them: what it hands over, wakes and starts is not in any rate, and is
/// much of what a short chunk takes.
struct ProbedStrategy {
  PlannedStrategy plan;
  std::vector<ProbedChunk> chunks;  // of the grid; cached pages vary fastest
};

struct MachineRates {
  std::vector<AttentionRate> attention;  // one at least; rows rise
  std::vector<SlicedAttention> sliced;   // with the same rows
  double masked_share = 1;               // of that rate, on keys that a causal mask cuts
  double merge_bytes_per_second = std::numeric_limits<double>::infinity();
  double copy_bytes_per_second = std::numeric_limits<double>::infinity();  // of pages into messages
  double launch_seconds = 0;  // a kernel without work, and handing over between two streams
  LinkRate inside_host;
  LinkRate between_hosts;
  ProbeGrid grid;
  std::vector<ProbedStrategy> probed;  // none: the model is taken as it is

  /// With one of `parts` parts of the heads: of those that were not measured, as with all heads.
  /// Between measured rows the time of a column is interpolated over rows; beyond the ends, the
  /// rates of the ends.
  double attention_flops_per_second(std::int64_t rows, int parts = 1) const;
};

/// What to assume of a rank with `threads` threads and kernels for `isa` when nothing may be
/// measured; `throttle`: of its links. Good for the order of strategies, not for their times.
MachineRates default_rates(std::string_view isa, int threads,
                           const std::optional<LinkThrottle>& throttle = std::nullopt);

}  // namespace longspan

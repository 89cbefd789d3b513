// How fast this machine attends, merges and sends: the constants of the time model.
//
// Measured by calibrate() or assumed by default_rates(). They are rates of the slowest rank while
// all ranks work, which is what the slowest rank of a step will see.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

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

struct MachineRates {
  std::vector<AttentionRate> attention;  // one at least; rows rise
  double masked_share = 1;               // of that rate, on keys that a causal mask cuts
  double merge_bytes_per_second = std::numeric_limits<double>::infinity();
  double launch_seconds = 0;  // a kernel without work, and handing over between two streams
  LinkRate inside_host;
  LinkRate between_hosts;

  /// Interpolated over the logarithm of `rows`; beyond the ends, the ends.
  double attention_flops_per_second(std::int64_t rows) const;
};

/// What to assume of a rank with `threads` threads and kernels for `isa` when nothing may be
/// measured. Good for the order of strategies, not for their times.
MachineRates default_rates(std::string_view isa, int threads);

}  // namespace longspan

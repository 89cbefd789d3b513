// One time for the traces of all ranks.
//
// Ranks of one host share the steady clock. A rank of another host asks rank 0 for the time:
//
//   rank r   begin ---.             .--- end          offset = rank 0's time - (begin + end) / 2
//                      \           /                  off by half the round trip at most
//   rank 0              `- time --'
//
// The fastest of several round trips counts. Clocks drift by some 10 us a second at worst, so a
// long trace of several hosts is only as good as that.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"

namespace longspan {

struct TraceClock {
  std::uint64_t run = 0;                   // the same on all ranks, another for every run
  std::chrono::nanoseconds offset{0};      // to add to this rank's clock for rank 0's
  std::chrono::nanoseconds round_trip{0};  // that gave the offset; 0 on rank 0's host
};

using ReadClock = std::function<std::chrono::nanoseconds()>;

std::chrono::nanoseconds steady_time();

/// Every rank calls it. `host_ranks`: those that share this rank's clock.
TraceClock agree_on_clock(Communicator& control, const std::vector<int>& host_ranks,
                          const ReadClock& now = steady_time);

}  // namespace longspan

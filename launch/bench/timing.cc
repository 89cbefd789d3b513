#include "launch/bench/timing.h"

#include <algorithm>
#include <cstddef>

#include "comm/error.h"

namespace longspan {

Timing timing_of(std::vector<double> seconds) {
  expects(!seconds.empty(), "something was timed");
  std::ranges::sort(seconds);
  const std::size_t count = seconds.size();
  const double median = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2;
  const double middle_half = seconds[count * 3 / 4] - seconds[count / 4];
  return {.seconds = median,
          .best = seconds.front(),
          .spread = median > 0 ? middle_half / median : 0,
          .runs = static_cast<int>(count)};
}

}  // namespace longspan

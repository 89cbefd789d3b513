// What repeated runs come to.
#pragma once

#include <vector>

namespace longspan {

struct Timing {
  double seconds = 0;  // the median
  double best = 0;
  double spread = 0;  // of the middle half of the runs, over the median
  int runs = 0;
};

/// `seconds`: of each run, one at least, in any order.
Timing timing_of(std::vector<double> seconds);

}  // namespace longspan

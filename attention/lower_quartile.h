// What repeated runs of a probe come to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace longspan {

/// A quarter of the values is below it, of one at least. What else a machine does only adds to a
/// run's time: a probe that is disturbed for half of its short life still finds the machine's own.
inline double lower_quartile(std::vector<double> values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 4);
  std::ranges::nth_element(values, at);
  return *at;
}

}  // namespace longspan

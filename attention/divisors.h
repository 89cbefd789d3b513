// Cutting heads or ranks into equal parts.
#pragma once

#include <vector>

namespace longspan {

/// The parts that `number` things can be cut into evenly, ascending: of heads, of ranks.
inline std::vector<int> divisors(int number) {
  std::vector<int> found;
  for (int d = 1; d <= number; ++d) {
    if (number % d == 0) found.push_back(d);
  }
  return found;
}

}  // namespace longspan

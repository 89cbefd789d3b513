// Whether two runs wrote the same, and whether they had to.
#pragma once

#include <cstddef>
#include <optional>

#include "launch/answer.h"

namespace longspan {

/// Ways to share a sequence add up the same numbers in another order, so probabilities differ in
/// their last digits. A number drawn this near to where another token begins may fall on either
/// side; from there on two answers have little in common.
inline constexpr double kNearBorder = 1e-5;

struct Difference {
  std::size_t token = 0;  // the first one that differs
  double margin = 1;      // of the draw, in the run where it was narrower

  bool allowed() const { return margin < kNearBorder; }
};

/// Nothing when they are the same.
std::optional<Difference> first_difference(const Answer& a, const Answer& b);

}  // namespace longspan

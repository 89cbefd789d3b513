// Rotary position embedding (Su et al., arXiv 2104.09864) in half-split form: dimension i of a
// head turns together with dimension i + head_dim/2, by position * base^(-2i / head_dim).
//
// Angles are computed in double and within 1e-6 rad of exact up to position 10M: at such distances
// float32 angles are off by a radian.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace longspan {

class RopeTable {
 public:
  /// `head_dim` even.
  RopeTable(double base, int head_dim);

  int head_dim() const { return 2 * static_cast<int>(frequencies_.size()); }
  /// Per position head_dim values: the cosines of dimensions 0 ... head_dim/2 - 1, then the sines.
  void angles(std::span<const std::int64_t> positions,
              std::span<float> out /*(positions, head_dim)*/) const;

 private:
  std::vector<double> frequencies_;  // radians per position
};

}  // namespace longspan

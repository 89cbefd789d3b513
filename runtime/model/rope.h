// Rotary position embedding (Su et al., arXiv 2104.09864) in half-split form: dimension i of a
// head turns together with dimension i + head_dim/2, by position * base^(-2i / head_dim), unless
// the model's rule (rope_spec.h) says otherwise.
//
// Of a partly turned head the pairs of the turned dimensions come first in either half
// (head_order.h), and the rest have the angle 0: operations need not know.
//
// Angles are computed in double and within 1e-6 rad of exact up to position 10M: at such distances
// float32 angles are off by a radian. RopeSpec::float32_angles asks for those all the same, to
// compare with transformers, which computes frequencies and their products with positions in
// float32: done here in its order of operations. Only its powers are not rounded as ours are, so
// that about one frequency in a hundred is a step of float32 off, by base and head size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/rope_spec.h"

namespace longspan {

class RopeTable {
 public:
  /// `head_dim` even. `length`: of the whole sequence, if the rule depends on it.
  RopeTable(const RopeSpec& spec, int head_dim, std::int64_t length = 0);
  RopeTable(double base, int head_dim) : RopeTable(RopeSpec{.base = base}, head_dim) {}

  int head_dim() const { return 2 * static_cast<int>(frequencies_.size()); }
  /// Per position head_dim values: the cosines of dimensions 0 ... head_dim/2 - 1, then the sines.
  void angles(std::span<const std::int64_t> positions,
              std::span<float> out /*(positions, head_dim)*/) const;

  // What they are made of, for devices that compute them by themselves.

  /// Radians per position, of each pair of dimensions.
  std::span<const double> frequencies() const { return frequencies_; }
  /// Pairs that turn; those behind have the cosine 1, whatever the scale.
  std::size_t turned() const { return turned_; }
  /// Of cosines and sines of pairs that turn.
  double scale() const { return scale_; }

 private:
  double angle(std::int64_t position, double frequency) const;

  std::vector<double> frequencies_;  // radians per position
  std::size_t turned_;               // of them; the others are 0
  double scale_;                     // of cosines and sines that turn
  bool float32_;                     // frequencies are float32 values, and so are angles
};

}  // namespace longspan

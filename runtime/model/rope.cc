#include "runtime/model/rope.h"

#include <cmath>

#include "comm/error.h"

namespace longspan {

RopeTable::RopeTable(double base, int head_dim) {
  expects(head_dim > 0 && head_dim % 2 == 0, "RoPE turns pairs of dimensions");
  for (int i = 0; i < head_dim / 2; ++i) {
    frequencies_.push_back(std::pow(base, -2.0 * i / head_dim));
  }
}

void RopeTable::angles(std::span<const std::int64_t> positions, std::span<float> out) const {
  const std::size_t half = frequencies_.size();
  expects(out.size() == positions.size() * 2 * half, "one row of angles per position");
  for (std::size_t row = 0; row < positions.size(); ++row) {
    float* cosines = out.data() + row * 2 * half;
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[row]) * frequencies_[i];
      cosines[i] = static_cast<float>(std::cos(angle));
      cosines[half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace longspan

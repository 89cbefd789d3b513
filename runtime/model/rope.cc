#include "runtime/model/rope.h"

#include <cmath>
#include <numbers>

#include "comm/error.h"

namespace longspan {
namespace {

using Frequencies = std::vector<double>;

Frequencies plain(double base, int rotated) {
  Frequencies frequencies;
  for (int i = 0; i < rotated / 2; ++i) frequencies.push_back(std::pow(base, -2.0 * i / rotated));
  return frequencies;
}

/// The base at which a sequence of `length` turns its slowest dimension as far as one of the
/// model's context does.
double dynamic_base(const RopeSpec& spec, int rotated, std::int64_t length) {
  const auto context = static_cast<double>(spec.original_context);
  const double stretch = std::max(static_cast<double>(length), context) / context;
  return spec.base * std::pow(spec.factor * stretch - (spec.factor - 1), rotated / (rotated - 2.0));
}

/// The dimension, not whole, that makes `turns` turns in the original context.
double dimension_of(const RopeSpec& spec, int rotated, double turns) {
  const double tokens_per_turn = static_cast<double>(spec.original_context) / turns;
  return rotated * std::log(tokens_per_turn / (2 * std::numbers::pi)) / (2 * std::log(spec.base));
}

/// Dimensions faster than the first bound stay, slower than the second are divided, and those
/// between go from one to the other in a straight line.
void apply_yarn(const RopeSpec& spec, int rotated, Frequencies& frequencies) {
  double first = dimension_of(spec, rotated, spec.fast_turns);
  double second = dimension_of(spec, rotated, spec.slow_turns);
  if (spec.whole_bounds) {
    first = std::floor(first);
    second = std::ceil(second);
  }
  first = std::max(first, 0.0);
  second = std::min(second, rotated - 1.0);
  if (first == second) second += 0.001;  // as transformers does
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double divided =
        std::clamp((static_cast<double>(i) - first) / (second - first), 0.0, 1.0);
    frequencies[i] *= divided / spec.factor + (1 - divided);
  }
}

void apply_llama3(const RopeSpec& spec, Frequencies& frequencies) {
  for (double& frequency : frequencies) {
    const double turns =
        static_cast<double>(spec.original_context) * frequency / (2 * std::numbers::pi);
    const double kept =
        std::clamp((turns - spec.slow_turns) / (spec.fast_turns - spec.slow_turns), 0.0, 1.0);
    frequency *= (1 - kept) / spec.factor + kept;
  }
}

void divide(Frequencies& frequencies, const std::vector<double>& divisors) {
  expects(divisors.size() == frequencies.size(), "a divisor for each pair of dimensions");
  for (std::size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= divisors[i];
}

Frequencies frequencies_of(const RopeSpec& spec, int rotated, std::int64_t length) {
  if (spec.scaling == RopeScaling::kDynamic) {
    return plain(dynamic_base(spec, rotated, length), rotated);
  }
  Frequencies frequencies = plain(spec.base, rotated);
  switch (spec.scaling) {
    case RopeScaling::kNone:
    case RopeScaling::kDynamic:
      break;
    case RopeScaling::kLinear:
      for (double& frequency : frequencies) frequency /= spec.factor;
      break;
    case RopeScaling::kYarn:
      apply_yarn(spec, rotated, frequencies);
      break;
    case RopeScaling::kLlama3:
      apply_llama3(spec, frequencies);
      break;
    case RopeScaling::kLongRope:
      divide(frequencies,
             length > spec.original_context ? spec.long_divisors : spec.short_divisors);
      break;
  }
  return frequencies;
}

}  // namespace

RopeTable::RopeTable(const RopeSpec& spec, int head_dim, std::int64_t length)
    : scale_(spec.attention_factor) {
  const int rotated = spec.rotated > 0 ? spec.rotated : head_dim;
  expects(head_dim > 0 && head_dim % 2 == 0 && rotated % 2 == 0 && rotated <= head_dim,
          "RoPE turns pairs of dimensions");
  expects(!spec.depends_on_length() || length > 0, "the sequence has a length");
  frequencies_ = frequencies_of(spec, rotated, length);
  turned_ = frequencies_.size();
  frequencies_.resize(head_dim / 2, 0.0);
}

void RopeTable::angles(std::span<const std::int64_t> positions, std::span<float> out) const {
  const std::size_t half = frequencies_.size();
  expects(out.size() == positions.size() * 2 * half, "one row of angles per position");
  for (std::size_t row = 0; row < positions.size(); ++row) {
    float* cosines = out.data() + row * 2 * half;
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[row]) * frequencies_[i];
      const double scale = i < turned_ ? scale_ : 1.0;
      cosines[i] = static_cast<float>(scale * std::cos(angle));
      cosines[half + i] = static_cast<float>(scale * std::sin(angle));
    }
  }
}

}  // namespace longspan

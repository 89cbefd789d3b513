#include "runtime/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "comm/error.h"

namespace longspan {
namespace {

// `Real` is double, or float where transformers' results are wanted: then each operation rounds,
// and their order is the one of its modeling_rope_utils.py. The bounds of YaRN are Python numbers
// there, so they are double here either way.
template <typename Real>
using PerPair = std::vector<Real>;

/// Tokens per radian of each pair, before any rule.
template <typename Real>
PerPair<Real> periods(Real base, int rotated) {
  PerPair<Real> list;
  for (int i = 0; i < rotated / 2; ++i) {
    list.push_back(std::pow(base, static_cast<Real>(2 * i) / static_cast<Real>(rotated)));
  }
  return list;
}

template <typename Real>
PerPair<Real> inverses(PerPair<Real> periods) {
  for (Real& period : periods) period = 1 / period;
  return periods;
}

/// The base at which a sequence of `length` turns its slowest dimension as far as one of the
/// model's context does.
template <typename Real>
Real dynamic_base(const RopeSpec& spec, int rotated, std::int64_t length) {
  const auto factor = static_cast<Real>(spec.factor);
  const Real stretched = factor * static_cast<Real>(std::max(length, spec.original_context)) /
                         static_cast<Real>(spec.original_context);
  const double grown = std::pow(static_cast<double>(stretched - static_cast<Real>(spec.factor - 1)),
                                rotated / (rotated - 2.0));
  return static_cast<Real>(spec.base) * static_cast<Real>(grown);
}

/// The dimension, not whole, that makes `turns` turns in the original context.
double dimension_of(const RopeSpec& spec, int rotated, double turns) {
  const double tokens_per_turn = static_cast<double>(spec.original_context) / turns;
  return rotated * std::log(tokens_per_turn / (2 * std::numbers::pi)) / (2 * std::log(spec.base));
}

/// Dimensions faster than the first bound stay, slower than the second are divided, and those
/// between go from one to the other in a straight line.
template <typename Real>
PerPair<Real> yarn_frequencies(const RopeSpec& spec, int rotated, const PerPair<Real>& periods) {
  double first = dimension_of(spec, rotated, spec.fast_turns);
  double second = dimension_of(spec, rotated, spec.slow_turns);
  if (spec.whole_bounds) {
    first = std::floor(first);
    second = std::ceil(second);
  }
  first = std::max(first, 0.0);
  second = std::min(second, rotated - 1.0);
  if (first == second) second += 0.001;  // as transformers does
  PerPair<Real> frequencies;
  for (const Real period : periods) {
    const Real along = (static_cast<Real>(frequencies.size()) - static_cast<Real>(first)) /
                       static_cast<Real>(second - first);
    const Real kept = 1 - std::clamp<Real>(along, 0, 1);
    const Real divided = 1 / (static_cast<Real>(spec.factor) * period);
    frequencies.push_back(divided * (1 - kept) + (1 / period) * kept);
  }
  return frequencies;
}

template <typename Real>
Real llama3_frequency(const RopeSpec& spec, Real plain) {
  const auto factor = static_cast<Real>(spec.factor);
  const auto context = static_cast<double>(spec.original_context);
  const Real wavelength = (1 / plain) * static_cast<Real>(2 * std::numbers::pi);
  if (wavelength > static_cast<Real>(context / spec.slow_turns)) return plain / factor;
  if (wavelength < static_cast<Real>(context / spec.fast_turns)) return plain;
  const Real turns = (1 / wavelength) * static_cast<Real>(context);
  const Real kept = (turns - static_cast<Real>(spec.slow_turns)) /
                    static_cast<Real>(spec.fast_turns - spec.slow_turns);
  return (1 - kept) * plain / factor + kept * plain;
}

template <typename Real>
void multiply(PerPair<Real>& periods, const std::vector<double>& factors) {
  expects(factors.size() == periods.size(), "a divisor for each pair of dimensions");
  for (std::size_t i = 0; i < periods.size(); ++i) periods[i] *= static_cast<Real>(factors[i]);
}

/// Radians per position of each pair.
template <typename Real>
PerPair<Real> frequencies_of(const RopeSpec& spec, int rotated, std::int64_t length) {
  PerPair<Real> plain = periods(static_cast<Real>(spec.base), rotated);
  switch (spec.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kDynamic:
      return inverses(periods(dynamic_base<Real>(spec, rotated, length), rotated));
    case RopeScaling::kLinear: {
      PerPair<Real> frequencies = inverses(std::move(plain));
      for (Real& frequency : frequencies) frequency /= static_cast<Real>(spec.factor);
      return frequencies;
    }
    case RopeScaling::kYarn:
      return yarn_frequencies(spec, rotated, plain);
    case RopeScaling::kLlama3: {
      PerPair<Real> frequencies = inverses(std::move(plain));
      for (Real& frequency : frequencies) frequency = llama3_frequency(spec, frequency);
      return frequencies;
    }
    case RopeScaling::kLongRope:
      multiply(plain, length > spec.original_context ? spec.long_divisors : spec.short_divisors);
      break;
  }
  return inverses(std::move(plain));
}

}  // namespace

RopeTable::RopeTable(const RopeSpec& spec, int head_dim, std::int64_t length)
    : scale_(spec.attention_factor), float32_(spec.float32_angles) {
  const int rotated = spec.rotated > 0 ? spec.rotated : head_dim;
  expects(head_dim > 0 && head_dim % 2 == 0 && rotated % 2 == 0 && rotated <= head_dim,
          "RoPE turns pairs of dimensions");
  expects(!spec.depends_on_length() || length > 0, "the sequence has a length");
  if (float32_) {
    const PerPair<float> rounded = frequencies_of<float>(spec, rotated, length);
    frequencies_.assign(rounded.begin(), rounded.end());
  } else {
    frequencies_ = frequencies_of<double>(spec, rotated, length);
  }
  turned_ = frequencies_.size();
  frequencies_.resize(head_dim / 2, 0.0);
}

double RopeTable::angle(std::int64_t position, double frequency) const {
  if (!float32_) return static_cast<double>(position) * frequency;
  return static_cast<float>(position) * static_cast<float>(frequency);
}

void RopeTable::angles(std::span<const std::int64_t> positions, std::span<float> out) const {
  const std::size_t half = frequencies_.size();
  expects(out.size() == positions.size() * 2 * half, "one row of angles per position");
  for (std::size_t row = 0; row < positions.size(); ++row) {
    float* cosines = out.data() + row * 2 * half;
    for (std::size_t i = 0; i < half; ++i) {
      const double turn = angle(positions[row], frequencies_[i]);
      const double scale = i < turned_ ? scale_ : 1.0;
      cosines[i] = static_cast<float>(scale * std::cos(turn));
      cosines[half + i] = static_cast<float>(scale * std::sin(turn));
    }
  }
}

}  // namespace longspan

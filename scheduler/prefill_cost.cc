#include "scheduler/prefill_cost.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

namespace longspan {
namespace {

constexpr int kTerms = 4;
using Vector = std::array<double, kTerms>;
using Matrix = std::array<Vector, kTerms>;

/// So that the terms of a fit are of similar size: sums of 10,000 tokens are common.
constexpr Vector kScale{1, 1e4, 1e9, 1e9};

double real(std::int64_t value) { return static_cast<double>(value); }

/// x of the terms in `used` (bits) with the others 0, by elimination; nothing when they are not
/// told apart.
std::optional<Vector> solve(Matrix left, Vector right, unsigned used) {
  constexpr double kTooSmall = 1e-12;  // of a pivot, beside the term's own square
  Vector x{};
  const Matrix given = left;
  std::array<int, kTerms> terms{};
  int count = 0;
  for (int i = 0; i < kTerms; ++i) {
    if (used >> i & 1u) terms[count++] = i;
  }
  for (int k = 0; k < count; ++k) {
    const int p = terms[k];
    if (left[p][p] <= kTooSmall * given[p][p]) return std::nullopt;
    for (int m = k + 1; m < count; ++m) {
      const int row = terms[m];
      const double factor = left[row][p] / left[p][p];
      for (int n = k; n < count; ++n) left[row][terms[n]] -= factor * left[p][terms[n]];
      right[row] -= factor * right[p];
    }
  }
  for (int k = count - 1; k >= 0; --k) {
    const int p = terms[k];
    double rest = right[p];
    for (int n = k + 1; n < count; ++n) rest -= left[p][terms[n]] * x[terms[n]];
    x[p] = rest / left[p][p];
  }
  return x;
}

/// Of the quadratic whose minimum solve() finds, up to a constant.
double misfit(const Matrix& left, const Vector& right, const Vector& x) {
  double sum = 0;
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) sum += x[i] * left[i][j] * x[j];
    sum -= 2 * right[i] * x[i];
  }
  return sum;
}

}  // namespace

double PrefillCost::seconds(std::span<const ChunkSize> chunks) const {
  if (chunks.empty()) return 0;
  double sum = a;
  for (const ChunkSize& chunk : chunks) {
    const double tokens = real(chunk.count);
    sum += tokens * (b + c * real(chunk.cached) + d * tokens);
  }
  return sum;
}

double PrefillCost::seconds_in_chunks(const ChunkSize& whole, std::int64_t chunk) const {
  const std::int64_t full = whole.count / chunk, rest = whole.count % chunk;
  const double n = real(full), length = real(chunk);
  double sum = n * (a + length * (b + c * real(whole.cached) + d * length));
  sum += c * length * length * n * (n - 1) / 2;  // of each other's keys
  if (rest > 0) sum += seconds(ChunkSize{whole.cached + full * chunk, rest});
  return sum;
}

std::int64_t PrefillCost::most_tokens(std::int64_t cached, double seconds) const {
  const double left = seconds - a;
  if (left <= 0) return 0;
  const double x = b + c * real(cached);
  // In this form nothing is lost where d is small or 0.
  const double tokens = 2 * left / (x + std::sqrt(x * x + 4 * d * left));
  return static_cast<std::int64_t>(std::min(tokens, 9e18));
}

TimedPrefill timed(std::span<const ChunkSize> chunks, double seconds) {
  TimedPrefill sample{.seconds = seconds};
  for (const ChunkSize& chunk : chunks) {
    const double tokens = real(chunk.count);
    sample.sum_l += tokens;
    sample.sum_cl += real(chunk.cached) * tokens;
    sample.sum_l2 += tokens * tokens;
  }
  return sample;
}

/// Four terms have sixteen sets that may be above 0: the best of them is the exact answer.
PrefillCost fit_prefill_cost(std::span<const TimedPrefill> samples) {
  Matrix left{};
  Vector right{};
  for (const TimedPrefill& sample : samples) {
    const Vector x{1 / sample.seconds, sample.sum_l / kScale[1] / sample.seconds,
                   sample.sum_cl / kScale[2] / sample.seconds,
                   sample.sum_l2 / kScale[3] / sample.seconds};
    for (int i = 0; i < kTerms; ++i) {
      for (int j = 0; j < kTerms; ++j) left[i][j] += x[i] * x[j];
      right[i] += x[i];
    }
  }
  Vector best{};
  double least = 0;  // of all zeros
  for (unsigned used = 1; used < 1u << kTerms; ++used) {
    const std::optional<Vector> x = solve(left, right, used);
    if (!x || std::ranges::any_of(*x, [](double term) { return term < 0; })) continue;
    const double missed = misfit(left, right, *x);
    if (missed >= least) continue;
    least = missed;
    best = *x;
  }
  return {best[0], best[1] / kScale[1], best[2] / kScale[2], best[3] / kScale[3]};
}

}  // namespace longspan

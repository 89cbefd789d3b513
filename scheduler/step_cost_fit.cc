#include "scheduler/step_cost_fit.h"

#include <algorithm>
#include <stdexcept>

namespace longspan {
namespace {

constexpr double kMemory = 0.99;   // of what a step counted, one step later
constexpr double kInertia = 1e-3;  // with which a factor stays where it was
constexpr int kSweeps = 20;
/// A guess is wrong by less; and what was fitted to one kind of step stays sane for others.
constexpr double kLeastFactor = 1e-3, kMostFactor = 1e3;

double real(std::int64_t value) { return static_cast<double>(value); }

}  // namespace

StepCostFit::StepCostFit(const StepCosts& guess, int degree)
    : degree_(degree),
      guess_{guess.prefill.a, guess.prefill.b, guess.prefill.c, guess.prefill.d, guess.h, guess.g},
      costs_({{1, {}}}, {{1, {}}}, 0) {
  if (std::ranges::any_of(guess_, [](double term) { return !(term > 0); })) {
    throw std::logic_error("a guess of costs is above zero");
  }
  factors_.fill(1);
  costs_ = model();
}

void StepCostFit::note(const StepPlan& step, Nanoseconds took) {
  if (took <= 0) throw std::logic_error("a step takes some time");
  const double seconds = real(took) * 1e-9;
  const StepSize size = size_of(step, degree_);
  const TimedPrefill chunks = timed(size.chunks, seconds);
  const Vector terms{
      1, chunks.sum_l, chunks.sum_cl, chunks.sum_l2, real(size.rows.rows), real(size.rows.keys)};
  Vector shares;
  for (int i = 0; i < kTerms; ++i) shares[i] = guess_[i] * terms[i] / seconds;
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) {
      squares_[i][j] = kMemory * squares_[i][j] + shares[i] * shares[j];
    }
    sums_[i] = kMemory * sums_[i] + shares[i];
  }
  ++steps_;
  fit();
  costs_ = model();
}

/// Term by term, each within its bounds: it converges, since the misfit is convex, and goes on from
/// the last step's factors, which are close.
void StepCostFit::fit() {
  const Vector before = factors_;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (int i = 0; i < kTerms; ++i) {
      double rest = sums_[i] + kInertia * before[i];
      for (int j = 0; j < kTerms; ++j) {
        if (j != i) rest -= squares_[i][j] * factors_[j];
      }
      factors_[i] = std::clamp(rest / (squares_[i][i] + kInertia), kLeastFactor, kMostFactor);
    }
  }
}

CostModel StepCostFit::model() const {
  const auto term = [this](int i) { return guess_[i] * factors_[i]; };
  const PrefillCost prefill{term(0), term(1), term(2), term(3)};
  const DecodeCost decode{
      .fixed = term(0), .of_rows = {{1, term(4)}, {2, 2 * term(4)}}, .per_key = term(5)};
  return CostModel({{degree_, prefill}}, {{degree_, decode}}, steps_);
}

}  // namespace longspan

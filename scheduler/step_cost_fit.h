// What steps cost, learned from what they took.
//
//   T = a + b sum(L) + c sum(C L) + d sum(L^2) + h rows + g keys
//
// a to d are PrefillCost's, h and g what a row and a key add to a step (DecodeCost). One model for
// steps of all kinds, since all read the weights once: a mixed step costs T(chunks) + D - e with
// e = a. It begins with a guess, and each term is the guess times a factor. Factors are fitted to
// the steps by least squares of relative errors, the last hundred counting most, and stay where
// they were as far as no step tells them apart. A step that something else held up counts little:
// it is at most as wrong as one that took no time at all.
#pragma once

#include <array>

#include "scheduler/cost_model.h"
#include "scheduler/step_size.h"

namespace longspan {

struct StepCosts {
  PrefillCost prefill;
  double h = 0;  // seconds a row of the master that has most
  double g = 0;  // seconds a key that a rank attends
};

class StepCostFit {
 public:
  /// `guess`: of a group of that degree; all above 0.
  StepCostFit(const StepCosts& guess, int degree);

  /// A step of the group took so long, above 0.
  void note(const StepPlan& step, Nanoseconds took);

  /// Of the degree, and taken for it alone. Its version is the number of steps noted.
  const CostModel& costs() const { return costs_; }

 private:
  static constexpr int kTerms = 6;
  using Vector = std::array<double, kTerms>;

  void fit();
  CostModel model() const;

  int degree_;
  Vector guess_;
  Vector factors_;
  std::array<Vector, kTerms> squares_{};  // sums over steps of the terms' shares of what they took
  Vector sums_{};
  int steps_ = 0;
  CostModel costs_;  // last: it is made of the others
};

}  // namespace longspan

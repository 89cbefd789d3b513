#include "runtime/engine/step_outcomes.h"

#include <utility>

namespace longspan {

void StepOutcomes::put(StepOutcome outcome) {
  const std::lock_guard lock(mutex_);
  outcomes_.push_back(std::move(outcome));
  news_.notify_one();
}

void StepOutcomes::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  news_.notify_one();
}

StepOutcome StepOutcomes::next() {
  std::unique_lock lock(mutex_);
  news_.wait(lock, [this] { return !outcomes_.empty(); });
  return take();
}

std::optional<StepOutcome> StepOutcomes::next_unless_woken() {
  std::unique_lock lock(mutex_);
  news_.wait(lock, [this] { return !outcomes_.empty() || woken_; });
  woken_ = false;
  if (outcomes_.empty()) return std::nullopt;
  return take();
}

StepOutcome StepOutcomes::take() {
  StepOutcome outcome = std::move(outcomes_.front());
  outcomes_.pop_front();
  return outcome;
}

}  // namespace longspan

// Where the coordinator hears of steps that are done, in the order in which they were.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "runtime/engine/group_line.h"

namespace longspan {

class StepOutcomes {
 public:
  /// Any thread.
  void put(StepOutcome outcome);
  /// Any thread: ends a wait, or the next one, that heeds it.
  void wake();

  /// Sleeps until there is an outcome.
  StepOutcome next();
  /// The same, or until somebody calls wake(): then nothing.
  std::optional<StepOutcome> next_unless_woken();

 private:
  StepOutcome take();

  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<StepOutcome> outcomes_;
  bool woken_ = false;
};

}  // namespace longspan

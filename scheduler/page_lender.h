// How a group's planner asks what other groups have of the prompts that begin there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/page_ref.h"

namespace longspan {

/// What other groups have of prompts (GroupSchedule).
class PageLender {
 public:
  virtual ~PageLender() = default;
  /// Of the pages that `names` begin with, those that one other group has in memory and, from the
  /// `first` on, can lend.
  virtual std::int64_t lendable(std::span<const PageHash> names, std::int64_t first) const = 0;
  /// The pages of all `names` from the `first` on, which are lendable. They stay as they are until
  /// StepPlanner::note() gives them back.
  virtual std::vector<PageRef> lend(std::span<const PageHash> names, std::int64_t first) = 0;
};

}  // namespace longspan

// How many pages may move at a border between two steps: everybody waits while they do, so they are
// as many as a budget of bytes per second allows for the time since the border before.
//
//   wanted    12 pages
//   border    |   step   |   step   |            step            |   step   |
//   moved     3          3          4 ... what was saved up, a second's at most      2
//
// What time brings and nobody uses is saved up for a second, or for a page if one takes longer: who
// wants something after an idle hour waits no longer for it than a busy one.
#pragma once

#include <cstdint>

#include "scheduler/cost_model.h"

namespace longspan {

class MoveBudget {
 public:
  /// No limit where either is 0.
  MoveBudget(std::int64_t bytes_per_second, std::int64_t page_bytes);

  /// A border, by a clock that never goes back.
  void come_to(Nanoseconds now);
  /// Whether one more page may go at this border.
  bool allows_one() const { return saved_ >= of_page_; }
  /// One goes, which may.
  void take_one() { saved_ -= of_page_; }

 private:
  Nanoseconds of_page_;  // 0: no limit
  Nanoseconds saved_;
  Nanoseconds last_ = 0;
};

}  // namespace longspan

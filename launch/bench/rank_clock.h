// Times what ranks do at the same time.
//
//   rank 0   barrier | run run run ............. done |          barrier | ...
//   rank 1   barrier | run run run .... done          |          barrier | ...
//                     <- a batch: as long as its slowest rank ->
//
// A batch holds so many runs that the ranks' coming out of the barrier one after another counts for
// nothing. How many, and how many batches, is agreed after a warm-up.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "comm/machine.h"
#include "launch/bench/timing.h"

namespace longspan {

class RankClock {
 public:
  /// Each figure then takes about `per_figure`, and three batches at least. Borrows the machine.
  RankClock(Machine& machine, std::chrono::duration<double> per_figure)
      : machine_(machine), per_figure_(per_figure) {}

  /// Of one run on the slowest rank; the same on every rank. All ranks call it. `runs(n)` does n
  /// runs, one after another, and returns when they are over; a rank without a part in them
  /// returns at once.
  Timing time(const std::function<void(int n)>& runs);
  /// The same of work that `enqueue` puts on `stream`.
  Timing time(Stream& stream, const std::function<void()>& enqueue);

 private:
  double batch(const std::function<void(int n)>& runs, int count);
  std::vector<double> slowest(const std::vector<double>& mine);

  Machine& machine_;
  const std::chrono::duration<double> per_figure_;
};

}  // namespace longspan

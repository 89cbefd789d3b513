// Times what ranks do at the same time.
//
//   rank 0   barrier | run run run ............. done |          barrier | ...
//   rank 1   barrier | run run run .... done          |          barrier | ...
//                     <- a batch: as long as its slowest rank ->
//
// A batch holds so many runs that the ranks' coming out of the barrier one after another counts for
// nothing. How many, and how many batches, is agreed after a warm-up. Rivals take turns, a batch
// each: what else the machine does in a minute, and its clock, then hits all of them alike.
#pragma once

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "comm/machine.h"
#include "launch/bench/timing.h"

namespace longspan {

class RankClock {
 public:
  /// So many runs, one after another; returns when they are over. A rank without a part in them
  /// returns at once.
  using Runs = std::function<void(int n)>;
  /// Of work that `enqueue` puts on `stream`, which is borrowed.
  static Runs runs_on(Stream& stream, std::function<void()> enqueue);

  /// Each figure then takes about `per_figure`: three batches at least, and fifteen where they take
  /// no more than twenty times as long. Borrows the machine.
  RankClock(Machine& machine, std::chrono::duration<double> per_figure)
      : machine_(machine), per_figure_(per_figure) {}

  /// Of one run on the slowest rank; the same on every rank. All ranks call it.
  Timing time(const Runs& runs);
  /// The same of each rival, all in as many batches.
  std::vector<Timing> time_in_turn(const std::vector<Runs>& rivals);
  Timing time(Stream& stream, std::function<void()> enqueue) {
    return time(runs_on(stream, std::move(enqueue)));
  }

 private:
  double batch(const Runs& runs, int count);
  int batches(double seconds_of_a_turn, std::size_t rivals) const;
  std::vector<double> slowest(const std::vector<double>& mine);

  Machine& machine_;
  const std::chrono::duration<double> per_figure_;
};

}  // namespace longspan

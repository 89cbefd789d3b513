// What `longspan bench comm` measures: messages of several sizes round the ranks, all at once, and
// small ones there and back.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "comm/machine.h"
#include "launch/bench/bench_options.h"
#include "launch/bench/timing.h"

namespace longspan {

/// A message to the next rank while one comes from the rank before.
struct RingFigure {
  std::int64_t bytes = 0;
  Timing exchange;
  Timing copy;  // yardstick: every rank copies as much in memory

  double bytes_per_second() const { return static_cast<double>(bytes) / exchange.seconds; }
  double copied_per_second() const { return static_cast<double>(bytes) / copy.seconds; }
  double ratio() const { return bytes_per_second() / copied_per_second(); }
};

/// A small message there and back between two ranks, the first having worked before.
struct RoundTripFigure {
  std::int64_t bytes = 0;
  std::chrono::microseconds after_work{0};
  Timing trip;                   // as the first rank saw it
  double yardstick_seconds = 0;  // two hand-overs between streams of one rank

  double ratio() const { return trip.seconds / yardstick_seconds; }
};

struct CommFigures {
  std::vector<RingFigure> ring;
  std::vector<RoundTripFigure> round_trips;  // none with one rank
};

/// Every rank calls it with the same options; the ranks from `degree` on only keep in step. Stops
/// between two figures, on all ranks, when any is interrupted.
CommFigures measure_comm(Machine& machine, const BenchCommOptions& options, int degree,
                         const std::atomic<bool>& interrupted);

}  // namespace longspan

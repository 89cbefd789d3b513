// How long a model takes to load from the page cache, beside reading and dequantising it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "comm/machine.h"
#include "launch/bench/bench_options.h"
#include "launch/bench/timing.h"

namespace longspan {

struct LoadFigures {
  std::string precision;          // "float32": of matrices in memory
  std::uint64_t file_bytes = 0;   // read, on rank 0's host
  std::int64_t weight_bytes = 0;  // in memory there
  int threads = 0;                // that load there
  // Of the slowest rank:
  Timing load;
  Timing yardstick;  // reads and dequantises into new memory
  Timing in_cache;   // the same, and keeps nothing

  /// Of the best runs: what else the machine does only makes them longer.
  double ratio() const { return load.best / yardstick.best; }
  /// Of the file.
  double bytes_per_second(const Timing& timing) const {
    return static_cast<double>(file_bytes) / timing.best;
  }
};

/// Every rank calls it; the same on all. Throws what open_model() and load_model() throw.
LoadFigures measure_load(Machine& machine, const BenchLoadOptions& options,
                         const std::atomic<bool>& interrupted);

}  // namespace longspan

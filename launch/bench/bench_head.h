// What every bench says first: on what machine, with how many ranks and threads, which longspan.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "comm/machine.h"
#include "launch/bench/bench_options.h"

namespace longspan {

struct BenchHead {
  std::string bench;  // "attention"
  int degree = 1;     // ranks that take part
  int ranks = 1;
  int hosts = 1;
  int threads = 1;            // of each rank
  std::string placement;      // of rank 0: where they run, and why
  std::string device;         // of rank 0
  std::string throttle_link;  // "" or how links are throttled
  double seconds = 0;         // of each figure
};

/// All ranks call it. Throws UsageError, on all, for a degree above the number of ranks.
BenchHead bench_head(Machine& machine, const BenchOptions& options, std::string bench);

/// One line without its end.
std::string describe(const BenchHead& head);
nlohmann::ordered_json json_of(const BenchHead& head);

}  // namespace longspan

// What the cost model expects of ranks that need not be there, from constants that fewer measured:
// `longspan bench attention --predict`. Nothing is measured and no rank is asked, so that a
// prediction can be written down before the run that it is about, and on another machine.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "attention/choose_strategy.h"
#include "launch/bench/bench_options.h"
#include "launch/bench/random_cases.h"

namespace longspan {

/// One chunk by one layout.
struct PredictedChunk {
  struct Way {
    PlannedStrategy plan;
    double seconds = 0;
  };

  AskedChunk size;
  Layout layout{};
  std::vector<Way> ways;  // those that would be measured
  StrategyChoice choice;
};

/// The constants in a file of `longspan bench attention --json`, or in one that calibration keeps.
/// What was probed counts for the degree that it was probed with, and is left out for another one.
/// Throws MissingInput, PermissionError, IoError, and DataError where there are no constants.
MachineRates read_rates(const std::filesystem::path& file, int degree);

/// For `*options.degree` ranks of one host, every size by every layout. Throws UsageError when a
/// layout leaves no strategy of those named.
std::vector<PredictedChunk> predict_chunks(const BenchAttentionOptions& options,
                                           const MachineRates& rates);

/// As a table, and as one JSON object without a line's end.
std::string prediction_table(const std::vector<PredictedChunk>& chunks,
                             const BenchAttentionOptions& options);
std::string prediction_json(const std::vector<PredictedChunk>& chunks,
                            const BenchAttentionOptions& options);

}  // namespace longspan

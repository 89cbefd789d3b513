// What benches of the engine have in common: their command line, and a model on ranks as threads.
//
//   PROGRAM --model FILE [--ranks N] [--threads N] [--NAME N ...] [--json]
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "runtime/engine/job.h"

namespace longspan::bench {

struct EngineBench {
  std::string model;
  int ranks = 2;
  int threads = 1;                              // of each rank
  std::map<std::string, std::int64_t> numbers;  // the bench's own, by name
  bool json = false;
};

/// `numbers`: what the bench's own are where nobody says otherwise. Throws UsageError.
EngineBench parse_engine_bench(int count, char** words,
                               std::map<std::string, std::int64_t> numbers);

/// Loads the model in float32 on all ranks and opens a session, in which rank 0 drives.
void run_engine(const EngineBench& bench, const JobOptions& options, const SessionInput& session);

/// Of the model's vocabulary, all drawn.
std::vector<TokenId> random_prompt(std::mt19937& random, std::int64_t tokens);

double seconds_now();

/// The value that `share` of the sorted ones do not exceed. Some values; they are sorted.
double percentile(std::vector<double>& values, double share);

}  // namespace longspan::bench

// What every bench does with its ranks: opens them, refuses what their memory cannot hold, ends.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "comm/machine.h"
#include "launch/bench/bench_options.h"

namespace longspan {

/// on_machine() as the options say.
ExitCode on_bench_machine(
    const BenchOptions& options,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& bench);

/// Throws OutOfMemory, on every rank, unless each host has `bytes` for each of its ranks. All ranks
/// call it. `advice`: what to lower.
void expect_memory(Machine& machine, std::int64_t bytes, const std::string& advice);

/// How a bench ended. All ranks call it.
ExitCode ended(Machine& machine, const std::atomic<bool>& interrupted);

}  // namespace longspan

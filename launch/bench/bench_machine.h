// What every bench does with its ranks: opens them, refuses what their memory cannot hold, ends.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "attention/kernels.h"
#include "comm/machine.h"
#include "launch/bench/bench_options.h"

namespace longspan {

/// on_machine() as the options say.
ExitCode on_bench_machine(
    const BenchOptions& options,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& bench);

/// The options with pages and their type filled in, as models have them there.
BenchAttentionOptions suited_to(Backend backend, BenchAttentionOptions options);
BenchDecodeOptions suited_to(Backend backend, BenchDecodeOptions options);

/// Throws OutOfMemory, on every rank, unless each rank's device has `bytes`: a GPU's own memory, or
/// its share of the host's. All ranks call it. `advice`: what to lower.
void expect_memory(Machine& machine, std::int64_t bytes, const std::string& advice);

/// Of this rank's device.
std::unique_ptr<AttentionKernels> new_kernels(Machine& machine, const HeadShape& heads,
                                              Precision precision);

/// How a bench ended. All ranks call it.
ExitCode ended(Machine& machine, const std::atomic<bool>& interrupted);

}  // namespace longspan

// What every command that computes on ranks does first and last: opens the machine, and ends it in
// order when all ranks fail alike, alone when the others cannot know.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/machine.h"

namespace longspan {

struct MachineRequest {
  std::optional<int> threads;  // per rank; absent: a fair share of the host's cores
  Binding bind = Binding::kAuto;
  std::optional<Backend> backend = Backend::kCpu;  // absent: GPUs where there are any
  std::optional<GpuLink> gpu_link;                 // see MachineOptions
  bool cuda_graphs = false;                        // see MachineOptions
  std::chrono::milliseconds hang_timeout{120'000};
  std::optional<std::string> throttle_link;  // as parse_link_throttle() reads it
  LogLevel log_level = LogLevel::kInfo;
};

/// Runs `command` on this rank's machine; every rank calls it. What signals mean is the caller's,
/// who has begun to watch for them. Throws what all ranks have agreed to throw; a failure of this
/// rank alone ends the process.
ExitCode on_machine(const MachineRequest& request,
                    const std::function<ExitCode(Machine&)>& command);

/// The same for a command that ends after a signal: `interrupted` becomes true after a
/// Ctrl-C or SIGTERM on this rank.
ExitCode on_machine(
    const MachineRequest& request,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& command);

}  // namespace longspan

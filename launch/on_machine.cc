#include "launch/on_machine.h"

#include <exception>
#include <iostream>
#include <memory>
#include <string_view>

#include "comm/link_throttle.h"
#include "comm/str.h"
#include "comm/throttled_machine.h"
#include "launch/interrupt.h"

namespace longspan {
namespace {

/// The end of a rank whose failure the others do not know of: they wait for it, so leaving MPI in
/// order would wait for them. mpirun ends them when this one is gone, and srun with
/// --kill-on-bad-exit (-K).
[[noreturn]] void leave_alone(Machine& machine, ExitCode code, std::string_view message) {
  std::string line = "longspan: ";
  if (machine.size() > 1) line += str("rank {} on {}: ", machine.rank(), machine.host());
  // A failure of an exchange names the rank already, without its host.
  const std::string named = str("rank {}: ", machine.rank());
  if (machine.size() > 1 && message.starts_with(named)) message.remove_prefix(named.size());
  std::cerr << str("{}{}\n", line, message) << std::flush;
  std::cout << std::flush;
  leave_now(code);
}

std::unique_ptr<Machine> open_machine(const MachineRequest& request) {
  auto machine = Machine::open({.threads = request.threads.value_or(0),
                                .bind = request.bind,
                                .backend = request.backend,
                                .gpu_link = request.gpu_link,
                                .cuda_graphs = request.cuda_graphs,
                                .hang_timeout = request.hang_timeout});
  if (!request.throttle_link) return machine;
  return std::make_unique<ThrottledMachine>(std::move(machine),
                                            *parse_link_throttle(*request.throttle_link));
}

/// A build for GPUs that finds none is slower than was hoped for.
void say_if_without_gpu(Machine& machine) {
  if (machine.rank() != 0 || machine.backend() != Backend::kCpu || !cuda_support()) return;
  log(LogLevel::kWarning, "no rank sees a GPU: computing on CPUs (--backend cuda says why)");
}

}  // namespace

ExitCode on_machine(const MachineRequest& request,
                    const std::function<ExitCode(Machine&)>& command) {
  const std::unique_ptr<Machine> machine = open_machine(request);
  start_log(request.log_level, machine->rank(), machine->size());
  log(LogLevel::kDebug, machine->placement());
  if (!request.backend) say_if_without_gpu(*machine);
  try {
    return command(*machine);
  } catch (const Error& error) {
    if (error.everywhere()) throw;
    leave_alone(*machine, error.code(), error.what());
  } catch (const std::exception& error) {
    leave_alone(*machine, ExitCode::kInternal, str("internal error: {}", error.what()));
  }
}

ExitCode on_machine(
    const MachineRequest& request,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& command) {
  const InterruptWatch interrupt;
  return on_machine(request,
                    [&](Machine& machine) { return command(machine, interrupt.interrupted()); });
}

}  // namespace longspan

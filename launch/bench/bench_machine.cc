#include "launch/bench/bench_machine.h"

#include "comm/agreement.h"
#include "comm/host_memory.h"
#include "comm/str.h"
#include "launch/on_machine.h"

namespace longspan {

ExitCode on_bench_machine(
    const BenchOptions& options,
    const std::function<ExitCode(Machine&, const std::atomic<bool>& interrupted)>& bench) {
  return on_machine({.threads = options.threads,
                     .bind = options.bind,
                     .throttle_link = options.throttle_link,
                     .log_level = options.log_level},
                    bench);
}

void expect_memory(Machine& machine, std::int64_t bytes, const std::string& advice) {
  const std::int64_t room =
      minimum(machine.control(), available_host_memory() / std::ssize(machine.host_ranks()));
  agree_on(machine.control(), [&] {
    if (bytes <= room) return true;
    throw OutOfMemory(str("this needs {} on each rank, but there are {}; {}", human_bytes(bytes),
                          human_bytes(room), advice));
  });
}

ExitCode ended(Machine& machine, const std::atomic<bool>& interrupted) {
  return any_rank(machine.control(), interrupted) ? ExitCode::kInterrupted : ExitCode::kClean;
}

}  // namespace longspan

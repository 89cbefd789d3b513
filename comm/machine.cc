#include "comm/machine.h"

#include <unistd.h>

#include <climits>
#include <cstdio>

#include "comm/cpu/thread_machine.h"
#include "comm/host.h"
#include "comm/launcher.h"
#include "comm/mpi/mpi_machine.h"
#ifdef LONGSPAN_WITH_CUDA
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/cuda_machine.h"
#endif

namespace longspan {
namespace {

std::unique_ptr<Machine> open_alone(const MachineOptions& options) {
  const cpu_set_t cores = allowed_cores();
  const int threads = options.threads > 0 ? options.threads
                                          : fair_threads(cores, std::span(&cores, 1), cpu_quota());
  return std::make_unique<ThreadMachine>(std::make_shared<ThreadWorld>(1, options.hang_timeout),
                                         std::make_shared<ThreadWorld>(1, options.hang_timeout), 0,
                                         threads);
}

std::unique_ptr<Machine> open_host(const MachineOptions& options) {
  expects(options.threads >= 0, "a machine has no negative number of threads");
  expects(options.largest_piece >= 1 && options.largest_piece <= INT_MAX,
          "a piece has a size that MPI can count");
  const Launcher launcher = find_launcher(process_environment);
  require_connection(launcher, std::nullopt);
  if (!launcher.connects) return open_alone(options);
  auto session =
      std::make_unique<MpiSession>(MpiSessionOptions{.largest_piece = options.largest_piece});
  require_connection(launcher, session->size());
  return std::make_unique<MpiMachine>(std::move(session), options);
}

#ifdef LONGSPAN_WITH_CUDA
std::unique_ptr<Machine> open_with_gpus(const MachineOptions& options) {
  prepare_cuda_environment();
  return open_cuda_machine(open_host(options), options);
}
#else
std::unique_ptr<Machine> open_with_gpus(const MachineOptions& options) {
  if (!options.backend) return open_host(options);
  throw ConfigError(
      "this longspan was built without CUDA: configure it with -DLONGSPAN_WITH_CUDA=ON (preset "
      "cuda), or compute on CPUs with --backend cpu");
}
#endif

}  // namespace

std::unique_ptr<Machine> Machine::open(const MachineOptions& options) {
  return options.backend == Backend::kCpu ? open_host(options) : open_with_gpus(options);
}

#ifdef LONGSPAN_WITH_CUDA
std::optional<std::string> cuda_support() { return cuda_version(); }
#else
std::optional<std::string> cuda_support() { return std::nullopt; }
#endif

void leave_now(ExitCode code) {
  std::fflush(nullptr);
  _exit(static_cast<int>(code));
}

int announced_rank() { return find_launcher(process_environment).rank; }

}  // namespace longspan

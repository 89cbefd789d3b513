#include "comm/launcher.h"

#include <charconv>
#include <cstdlib>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

std::optional<int> number(const Environment& environment, const char* name) {
  const auto text = environment(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto result = std::from_chars(text->data(), text->data() + text->size(), value);
  if (result.ec != std::errc() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Launcher find_launcher(const Environment& environment) {
  const auto find = [&](const char* name) { return number(environment, name); };
  if (const auto tasks = find("OMPI_COMM_WORLD_SIZE")) {
    return {true, find("OMPI_COMM_WORLD_RANK").value_or(0), *tasks};
  }
  const int step_tasks = find("SLURM_STEP_NUM_TASKS").value_or(1);
  if (const auto rank = find("PMIX_RANK")) return {true, *rank, step_tasks};
  if (const auto rank = find("PMI_RANK")) {
    return {true, *rank, find("PMI_SIZE").value_or(step_tasks)};
  }
  if (step_tasks > 1) return {false, find("SLURM_PROCID").value_or(0), step_tasks};
  return {};
}

void require_connection(const Launcher& launcher, std::optional<int> mpi_size) {
  if (launcher.tasks <= 1) return;
  if (launcher.connects && mpi_size.value_or(launcher.tasks) > 1) return;
  throw ConfigError(
      str("{} tasks were started, but they cannot find each other through MPI: with srun, add "
          "--mpi=pmix (`srun --mpi=list` shows what this cluster has); with mpirun, use the one "
          "that belongs to the MPI named by `longspan --version`",
          launcher.tasks));
}

}  // namespace longspan

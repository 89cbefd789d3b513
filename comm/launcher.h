// What the environment says about who started this process, before MPI is asked.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace longspan {

/// Looks up a variable; nothing when it is unset or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;

std::optional<std::string> process_environment(const char* name);

struct Launcher {
  bool connects = false;  // it offers the ranks a way to find each other
  int rank = 0;           // as announced
  int tasks = 1;          // as announced
};

/// mpirun, srun (with or without PMI), or nobody.
///
/// A shell inside sbatch or salloc has SLURM_NTASKS though nothing was launched from it, so only a
/// *step* of several tasks counts, and only if no other launcher stands between it and us.
Launcher find_launcher(const Environment& environment);

/// Throws ConfigError if several tasks were started that cannot find each other; `mpi_size` is how
/// many ranks MPI sees, once it was asked.
void require_connection(const Launcher& launcher, std::optional<int> mpi_size);

}  // namespace longspan

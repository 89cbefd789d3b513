// What calibration found, kept for the next start on the same machine.
//
// A file per machine and arrangement of ranks, in $XDG_CACHE_HOME/longspan or ~/.cache/longspan.
// It says in full what it is for; one that is for something else, of another version, or damaged,
// is ignored with a line in the log and replaced. Rank 0 alone reads and writes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "attention/calibration.h"

namespace longspan {

/// What the rates depend on. Two keys that differ share no rates.
struct CalibrationKey {
  std::string device;   // of rank 0: "cpu AMD EPYC 7763, 2 threads"
  std::string isa;      // of the kernels: "avx512"
  std::string version;  // of longspan and the libraries that matter, as the caller knows them
  int ranks = 1;
  int ranks_per_host = 1;  // on rank 0's host
  int degree = 1;          // of a group
  HeadShape heads{};
  std::string link;  // what links GPUs, and how links are throttled: "peer 25M,1ms"

  /// One line, without the version: what a file is named after.
  std::string machine_text() const;
};

/// Where the rates of `key` are kept; folders need not exist.
std::filesystem::path calibration_file(const std::filesystem::path& folder,
                                       const CalibrationKey& key);

/// $XDG_CACHE_HOME/longspan, else ~/.cache/longspan; nothing if neither is known.
std::optional<std::filesystem::path> calibration_folder();

/// The rates in `file` if they are for `key`, of this version, and measured with at least `effort`.
/// Otherwise nothing, and unless there is no such file, a line in the log.
std::optional<MachineRates> read_calibration(const std::filesystem::path& file,
                                             const CalibrationKey& key, CalibrationEffort effort);

/// Writes a new file and renames it, so that nobody reads half of one. A folder that cannot be
/// written costs a warning, nothing else.
void write_calibration(const std::filesystem::path& file, const CalibrationKey& key,
                       CalibrationEffort effort, const MachineRates& rates);

/// The rates to work with, from the cache or measured now; the same on every rank. All ranks call
/// it with the same effort, and groups of `key.degree` ranks. `folder`: of the cache; nothing, or
/// effort off: none is used.
MachineRates rates_for(Machine& machine, AttentionKernels& kernels, CalibrationEffort effort,
                       const CalibrationKey& key, const ProbedGroup& group,
                       const std::optional<std::filesystem::path>& folder);

/// The key of this machine, apart from what only the caller knows. `gpu_link`: as it was asked for.
CalibrationKey calibration_key(Machine& machine, const AttentionKernels& kernels,
                               const ProbedGroup& group, std::string version,
                               const std::string& throttle, std::optional<GpuLink> gpu_link);

}  // namespace longspan

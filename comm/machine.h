// What a rank opens first and closes last: its device, its place among the ranks, and the two
// communicators: one for data (streams) and one for control (plans, reports, start-up).
//
// Under mpirun or srun the ranks are MPI's. Otherwise there is one rank, and MPI is never started.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/backend.h"
#include "comm/binding.h"
#include "comm/communicator.h"
#include "comm/error.h"

namespace longspan {

struct MachineOptions {
  int threads = 0;  // per rank; 0: a fair share of the host's cores (fair_threads in comm/host.h)
  Binding bind = Binding::kAuto;
  /// Absent: GPUs if any rank of the job sees one, else CPUs.
  std::optional<Backend> backend = Backend::kCpu;
  std::optional<GpuLink> gpu_link;  // absent: peer where it links all ranks, else nccl
  bool cuda_graphs = false;  // what a GPU is given as one it may replay as one (Stream::as_one)
  // Deadline of every exchange(). What a peer computes before it takes part counts too.
  std::chrono::milliseconds hang_timeout{120'000};
  // Longer messages are cut: MPI counts bytes in an int.
  std::size_t largest_piece = std::size_t{256} << 20;
};

class Machine {
 public:
  /// Throws ConfigError when the launcher gave several tasks but no MPI connection between them, or
  /// GPUs are asked for that this build cannot use; DeviceError when MPI cannot start or there are
  /// not GPUs for all ranks.
  static std::unique_ptr<Machine> open(const MachineOptions& options);
  virtual ~Machine() = default;

  virtual Device& device() = 0;
  virtual Communicator& data() = 0;
  virtual Communicator& control() = 0;

  int rank() { return data().rank(); }
  int size() { return data().size(); }
  /// World ranks that share this host's memory, in order; this rank among them.
  virtual const std::vector<int>& host_ranks() const = 0;
  virtual const std::string& host() const = 0;
  /// Threads of this rank.
  virtual int threads() const = 0;
  /// What device() is.
  virtual Backend backend() const { return Backend::kCpu; }
  /// Bytes left of memory that is the device's alone. Absent: its memory is the host's, which reads
  /// and writes it as it is.
  virtual std::optional<std::int64_t> device_memory_left() { return std::nullopt; }
  /// Where they run, and why: a line for a log.
  virtual std::string placement() const { return "compute threads are not bound"; }
  /// True once an exchange missed its deadline: MPI may not be used any more, nor finalised. End
  /// the process with leave_now().
  virtual bool abandoned() const { return false; }
};

/// Flushes C's standard streams and ends the process without destructors, exit handlers or
/// MPI_Finalize, which would wait for ever for a lost peer. How a rank ends whose failure the
/// others do not share; what all ranks agreed to throw ends them in order.
[[noreturn]] void leave_now(ExitCode code);

/// The rank the launcher's environment announces, before MPI runs; 0 without a launcher. For log
/// prefixes and for deciding who prints, nothing else.
int announced_rank();

/// "CUDA 13.0", for --version; nothing if this build knows CPUs only.
std::optional<std::string> cuda_support();

/// "Open MPI v4.1.4", for --version. Needs no Machine.
std::string mpi_library_version();

}  // namespace longspan

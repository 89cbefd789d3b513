// MPI as one thread sees it: from MPI_Init_thread to MPI_Finalize.
//
// Made, used and closed by the session's progress thread only. MPI asks that the thread that
// initialised also finalises; having one thread do everything satisfies that by construction.
#pragma once

#include <mpi.h>

#include <vector>

namespace longspan {

class MpiWorld {
 public:
  /// Throws DeviceError when MPI cannot start or lacks MPI_THREAD_MULTIPLE.
  MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  /// Leaves MPI together with all other ranks. Not called by a destructor: after an exchange was
  /// abandoned, or a peer died, it would wait for ever.
  void finalize();

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// World ranks that share memory with this one, in order.
  const std::vector<int>& host_ranks() const { return host_ranks_; }
  /// Two copies of the world, so that control messages never match data messages.
  MPI_Comm data() const { return data_; }
  MPI_Comm control() const { return control_; }

 private:
  int rank_ = 0;
  int size_ = 1;
  std::vector<int> host_ranks_;
  MPI_Comm data_ = MPI_COMM_NULL;
  MPI_Comm control_ = MPI_COMM_NULL;
};

}  // namespace longspan

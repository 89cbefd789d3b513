#include "comm/mpi/mpi_world.h"

#include <numeric>

#include "comm/error.h"
#include "comm/mpi/mpi_check.h"
#include "comm/str.h"

namespace longspan {
namespace {

void start_mpi() {
  int started = 0;
  mpi_check(MPI_Initialized(&started), "MPI_Initialized");
  if (started != 0) throw DeviceError("MPI was started before in this process: it starts once");
  int provided = MPI_THREAD_SINGLE;
  mpi_check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    throw DeviceError(
        str("this MPI grants thread level {}, MPI_THREAD_MULTIPLE ({}) is needed: use a build of "
            "MPI with thread support",
            provided, MPI_THREAD_MULTIPLE));
  }
}

MPI_Comm copy_of_world() {
  MPI_Comm copy = MPI_COMM_NULL;
  mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  mpi_check(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return copy;
}

std::vector<int> ranks_of_this_host(int world_rank) {
  MPI_Comm host = MPI_COMM_NULL;
  mpi_check(
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_rank, MPI_INFO_NULL, &host),
      "MPI_Comm_split_type");
  int size = 0;
  mpi_check(MPI_Comm_size(host, &size), "MPI_Comm_size");
  MPI_Group local = MPI_GROUP_NULL;
  MPI_Group world = MPI_GROUP_NULL;
  mpi_check(MPI_Comm_group(host, &local), "MPI_Comm_group");
  mpi_check(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  std::vector<int> local_ranks(static_cast<std::size_t>(size));
  std::iota(local_ranks.begin(), local_ranks.end(), 0);
  std::vector<int> world_ranks(local_ranks.size());
  mpi_check(MPI_Group_translate_ranks(local, size, local_ranks.data(), world, world_ranks.data()),
            "MPI_Group_translate_ranks");
  MPI_Group_free(&local);
  MPI_Group_free(&world);
  MPI_Comm_free(&host);
  return world_ranks;
}

}  // namespace

MpiWorld::MpiWorld() {
  start_mpi();
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  host_ranks_ = ranks_of_this_host(rank_);
  data_ = copy_of_world();
  control_ = copy_of_world();
}

void MpiWorld::finalize() {
  MPI_Comm_free(&data_);
  MPI_Comm_free(&control_);
  MPI_Finalize();
}

}  // namespace longspan

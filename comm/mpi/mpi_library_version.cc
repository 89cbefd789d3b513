#include <mpi.h>

#include <string>

#include "comm/machine.h"

namespace longspan {

// One of the few calls MPI allows before MPI_Init. The library's own line goes on with build
// details after a comma (Open MPI) or a line break (MPICH).
std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown MPI";
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

}  // namespace longspan

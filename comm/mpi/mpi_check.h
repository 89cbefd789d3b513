// Turns MPI's return codes into errors that say what was attempted.
#pragma once

#include <source_location>
#include <string>

namespace longspan {

/// MPI's own words for `code`.
std::string mpi_reason(int code);

/// Throws DeviceError unless `code` is MPI_SUCCESS.
void mpi_check(int code, const char* attempted,
               std::source_location where = std::source_location::current());

}  // namespace longspan

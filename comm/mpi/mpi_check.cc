#include "comm/mpi/mpi_check.h"

#include <mpi.h>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

std::string mpi_reason(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return str("MPI error {}", code);
  return {text, static_cast<std::size_t>(length)};
}

void mpi_check(int code, const char* attempted, std::source_location where) {
  if (code == MPI_SUCCESS) return;
  throw DeviceError(
      str("{} failed at {}:{}: {}", attempted, where.file_name(), where.line(), mpi_reason(code)));
}

}  // namespace longspan

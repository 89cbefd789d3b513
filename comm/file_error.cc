#include "comm/file_error.h"

#include <cerrno>

#include "comm/error.h"

namespace longspan {

void throw_read_error(int error, const std::string& what) {
  if (error == ENOENT || error == ENOTDIR) throw MissingInput(what);
  throw_write_error(error, what);
}

void throw_write_error(int error, const std::string& what) {
  if (error == EACCES || error == EPERM || error == EROFS) throw PermissionError(what);
  throw IoError(what);
}

}  // namespace longspan

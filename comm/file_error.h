// Which error a file's failure is.
#pragma once

#include <string>

namespace longspan {

/// Of a file that was to be read: MissingInput where there is none, PermissionError where it may
/// not be, else IoError. `error`: errno's. `what`: the whole message.
[[noreturn]] void throw_read_error(int error, const std::string& what);
/// Of a file that was to be made or written: PermissionError or IoError.
[[noreturn]] void throw_write_error(int error, const std::string& what);

}  // namespace longspan

// Does a person watch? mpirun gives its ranks pipes and copies what comes out of them to its own
// standard output and error, so a rank on a terminal has to ask about mpirun's.
#pragma once

#include <sys/types.h>

namespace longspan {

/// Whether what this process writes to `fd` (1 or 2) shows up on a terminal.
bool shows_on_terminal(int fd);

/// Whether what this process reads from standard input is typed on a terminal.
bool reads_from_terminal();

/// Whether `fd` of another process is a terminal; false if that cannot be known.
bool is_terminal_of(pid_t process, int fd);

}  // namespace longspan

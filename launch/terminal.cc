#include "launch/terminal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <string_view>

#include "comm/str.h"

namespace longspan {
namespace {

bool is_pipe(int fd) {
  struct stat status = {};
  return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

/// Open MPI's, whose ranks on its own host are its children.
bool is_launcher(pid_t process) {
  constexpr std::array<std::string_view, 4> kNames = {"mpirun", "mpiexec", "orterun", "prterun"};
  std::string name;
  std::getline(std::ifstream(str("/proc/{}/comm", process)), name);
  return std::ranges::find(kNames, name) != kNames.end();
}

}  // namespace

bool is_terminal_of(pid_t process, int fd) {
  const std::string path = str("/proc/{}/fd/{}", process, fd);
  const int opened = open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (opened < 0) return false;
  const bool terminal = isatty(opened) != 0;
  close(opened);
  return terminal;
}

bool shows_on_terminal(int fd) {
  if (isatty(fd) != 0) return true;
  return is_pipe(fd) && is_launcher(getppid()) && is_terminal_of(getppid(), fd);
}

bool reads_from_terminal() { return shows_on_terminal(STDIN_FILENO); }

}  // namespace longspan

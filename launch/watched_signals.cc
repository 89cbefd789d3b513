#include "launch/watched_signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <string>

#include "comm/error.h"
#include "comm/machine.h"
#include "comm/str.h"

namespace longspan {
namespace {

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void block_watched_signals() {
  sigset_t set = watched_signals();
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int signal_within(std::chrono::milliseconds timeout) {
  const sigset_t set = watched_signals();
  const timespec time{.tv_sec = timeout.count() / 1000,
                      .tv_nsec = timeout.count() % 1000 * 1'000'000};
  return std::max(0, sigtimedwait(&set, nullptr, &time));
}

bool state_signal_came() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  const timespec no_time{};
  return sigtimedwait(&set, nullptr, &no_time) == SIGUSR2;
}

void await_end(int signal) {
  signal_within(std::chrono::milliseconds(signal == SIGINT ? 500 : 100));
}

void leave_after(int signal) {
  if (announced_rank() == 0) {
    const std::string line =
        str("longspan: ended by {}\n", signal == SIGINT ? "Ctrl-C" : "SIGTERM");
    // Straight to the descriptor: another thread may hold the stream.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  }
  _exit(signal == SIGINT ? static_cast<int>(ExitCode::kInterrupted) : 128 + signal);
}

}  // namespace longspan

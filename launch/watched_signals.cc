#include "launch/watched_signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "comm/error.h"

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
  const sigset_t set = watched_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int signal_within(std::chrono::milliseconds timeout) {
  const sigset_t set = watched_signals();
  const timespec time{.tv_sec = timeout.count() / 1000,
                      .tv_nsec = timeout.count() % 1000 * 1'000'000};
  return std::max(0, sigtimedwait(&set, nullptr, &time));
}

void await_end(int signal) {
  signal_within(std::chrono::milliseconds(signal == SIGINT ? 500 : 100));
}

void leave_after(int signal) {
  _exit(signal == SIGINT ? static_cast<int>(ExitCode::kInterrupted) : 128 + signal);
}

}  // namespace longspan

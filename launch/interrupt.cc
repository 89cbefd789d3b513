#include "launch/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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

/// Waits up to `timeout` for a watched signal; 0 if none came.
int signal_within(std::chrono::milliseconds timeout) {
  const sigset_t set = watched_signals();
  const timespec time{.tv_sec = timeout.count() / 1000,
                      .tv_nsec = timeout.count() % 1000 * 1'000'000};
  return std::max(0, sigtimedwait(&set, nullptr, &time));
}

}  // namespace

InterruptWatch::InterruptWatch() {
  const sigset_t set = watched_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // inherited by every thread made from here on
  thread_ = std::thread([this] { watch(); });
}

InterruptWatch::~InterruptWatch() {
  closing_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes the wait; nobody else sees it
  thread_.join();
}

void InterruptWatch::watch() {
  int signal = 0;
  while (signal == 0) signal = signal_within(std::chrono::hours(1));
  if (closing_) return;
  interrupted_ = true;
  // mpirun turns a Ctrl-C into SIGTERM a second later and kills a second after that: what then
  // remains is not for waiting.
  signal_within(std::chrono::milliseconds(signal == SIGINT ? 500 : 100));
  if (!closing_) _exit(signal == SIGINT ? static_cast<int>(ExitCode::kInterrupted) : 128 + signal);
}

}  // namespace longspan

#include "launch/interrupt.h"

#include <signal.h>
#include <unistd.h>

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

/// Waits for a watched signal, or for `timeout` seconds.
bool signal_arrives_within(double timeout) {
  const sigset_t set = watched_signals();
  const timespec time{static_cast<time_t>(timeout),
                      static_cast<long>((timeout - static_cast<time_t>(timeout)) * 1e9)};
  return sigtimedwait(&set, nullptr, &time) > 0;
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
  constexpr double kForever = 1e6, kGrace = 0.5;
  while (!signal_arrives_within(kForever)) {
  }
  if (closing_) return;
  interrupted_ = true;
  signal_arrives_within(kGrace);
  if (!closing_) _exit(static_cast<int>(ExitCode::kInterrupted));
}

}  // namespace longspan
